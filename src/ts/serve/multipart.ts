// multipart/form-data (RFC 7578, RFC 2046), in and out.
//
//   --boundary CRLF headers CRLF CRLF content CRLF --boundary CRLF ... CRLF --boundary-- CRLF
//
// It is read from one buffer that the server has bounded, so a part is a view and costs nothing; libraries that read a
// stream copy each part, and bound the parts but not their sum.
//
// Invariant: a body is accepted only whole and in this form: no text before or between the parts, no encoding that
// would have to be undone, no name twice.
import { randomBytes } from 'node:crypto';
import { mediaType, OCTETS } from './media.js';
import { badBody } from './tensor-bytes.js';

export const FORM_TYPE = 'multipart/form-data';

/** The most parts, and bytes of the headers of one. */
const MAX_FORM_PARTS = 80;
const MAX_HEADER_BYTES = 4096;
const BOUNDARY = /;\s*boundary=(?:"([^"\\]{1,70})"|([^\s;"]{1,70}))\s*(?:;|$)/i;
const BOUNDARY_CHARACTERS = /^[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]$/;
const PARAMETER = /^\s*;\s*([A-Za-z0-9*_-]{1,32})=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))/;
const decoder = new TextDecoder('utf-8', { fatal: true });

/** A part of a form. */
export interface FormPart {
  name: string;
  /** Of a file. */
  filename: string | undefined;
  /** In lower case, without parameters; undefined: it says none. */
  type: string | undefined;
  content: Uint8Array;
}

/**
 * Reads a form.
 *
 * @param body whole
 * @param contentType the header, which names the boundary
 * @returns its parts; their contents are views of the body
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT saying what is wrong
 */
export function decodeMultipart(body: Buffer, contentType: string): FormPart[] {
  const match = BOUNDARY.exec(contentType);
  const boundary = match?.[1] ?? match?.[2];
  if (boundary === undefined || !BOUNDARY_CHARACTERS.test(boundary))
    throw badForm('its Content-Type names no boundary');
  const opening = Buffer.from(`--${boundary}`, 'latin1');
  const delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1');
  if (!body.subarray(0, opening.length).equals(opening)) throw badForm('it does not begin with its boundary');
  const parts: FormPart[] = [];
  const names = new Set<string>();
  let at = opening.length;
  while (body.toString('latin1', at, at + 2) !== '--') {
    if (body.toString('latin1', at, at + 2) !== '\r\n') throw badForm('a boundary is not a line');
    const headersEnd = body.subarray(at, at + MAX_HEADER_BYTES + 4).indexOf('\r\n\r\n', 0, 'latin1');
    if (headersEnd < 0) throw badForm(`the headers of a part have no end within ${MAX_HEADER_BYTES} bytes`);
    const begin = at + headersEnd + 4;
    // An empty part: its headers' last line break is the one before the boundary.
    const end = body.indexOf(delimiter, begin - 2);
    if (end < 0) throw badForm('it is cut short');
    const part = partOf(body.subarray(at + 2, begin - 4), body.subarray(begin, Math.max(begin, end)));
    if (names.has(part.name)) throw badForm(`it has ${JSON.stringify(part.name)} twice`);
    if (parts.length >= MAX_FORM_PARTS) throw badForm(`it has more than ${MAX_FORM_PARTS} parts`);
    names.add(part.name);
    parts.push(part);
    at = end + delimiter.length;
  }
  const epilogue = body.subarray(at + 2);
  if (epilogue.length > 0 && !epilogue.equals(Buffer.from('\r\n'))) throw badForm('something follows its end');
  return parts;
}

const badForm = (text: string) => badBody(`the form is malformed: ${text}`);

function partOf(headers: Buffer, content: Uint8Array): FormPart {
  let disposition: string | undefined;
  let type: string | undefined;
  const text = decodeText(headers);
  for (const line of text === '' ? [] : text.split('\r\n')) {
    const header = /^([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}):[ \t]*([^\r\n]*?)[ \t]*$/.exec(line);
    if (header === null) throw badForm('a part has a line that is no header');
    const [, name = '', value = ''] = header;
    switch (name.toLowerCase()) {
      case 'content-disposition':
        if (disposition !== undefined) throw badForm('a part has two dispositions');
        disposition = value;
        break;
      case 'content-type':
        type = mediaType(value);
        if (type === undefined) throw badForm('a part has a Content-Type that is none');
        break;
      case 'content-transfer-encoding':
        if (!/^(binary|8bit|7bit)$/i.test(value))
          throw badForm(`a part is encoded as ${JSON.stringify(value.slice(0, 32))}`);
    }
  }
  if (disposition === undefined || !/^form-data\s*(;|$)/i.test(disposition)) throw badForm('a part is not form-data');
  const { name, filename } = parametersOf(disposition.slice('form-data'.length));
  if (name === undefined || name === '') throw badForm('a part has no name');
  return { name, filename, type, content };
}

function decodeText(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw badForm('the headers of a part are not UTF-8');
  }
}

function parametersOf(text: string): { name: string | undefined; filename: string | undefined } {
  const found = new Map<string, string>();
  let rest = text;
  while (rest.trim() !== '') {
    const match = PARAMETER.exec(rest);
    if (match === null) throw badForm('the disposition of a part is malformed');
    const key = match[1]!.toLowerCase();
    if (found.has(key)) throw badForm(`the disposition of a part has ${key} twice`);
    found.set(key, unquote(match[2], match[3]));
    rest = rest.slice(match[0].length);
  }
  return { name: found.get('name'), filename: found.get('filename') };
}

// As browsers write it (HTML, "multipart/form-data"), and with the backslashes of older programs.
function unquote(quoted: string | undefined, token: string | undefined): string {
  const text = quoted?.replace(/\\(["\\])/g, '$1') ?? token ?? '';
  return text.replace(/%22|%0D|%0A/gi, (escaped) => decodeURIComponent(escaped));
}

/** A part to write. */
export interface FormPartToSend {
  name: string;
  filename?: string;
  type: string;
  content: readonly Uint8Array[];
}

/**
 * Writes a form.
 *
 * @returns its Content-Type, and the body in pieces, which views the contents
 */
export function encodeMultipart(parts: readonly FormPartToSend[]): { contentType: string; pieces: Uint8Array[] } {
  const boundary = `onepiece-${randomBytes(18).toString('hex')}`; // 144 random bits do not occur in a tensor
  const pieces: Uint8Array[] = [];
  for (const { name, filename, type, content } of parts) {
    const file = filename === undefined ? '' : `; filename="${quote(filename)}"`;
    const disposition = `Content-Disposition: form-data; name="${quote(name)}"${file}`;
    pieces.push(Buffer.from(`--${boundary}\r\n${disposition}\r\nContent-Type: ${type}\r\n\r\n`), ...content, CRLF);
  }
  pieces.push(Buffer.from(`--${boundary}--\r\n`));
  return { contentType: `${FORM_TYPE}; boundary=${boundary}`, pieces };
}

const CRLF = Buffer.from('\r\n');

function quote(text: string): string {
  return text.replace(/["\r\n]/g, encodeURIComponent);
}

/** The content type of a form's part that does not say one. */
export const DEFAULT_PART_TYPE = OCTETS;
