// Invariant: a document is one JSON object or array of at most 64 KiB of UTF-8; what a peer sends is never anything
// else, and its content is only used after a schema has judged it.

import * as v from 'valibot';
import { RdmaError } from '../core/errors.js';
import { checkObject } from '../core/validate.js';
import { MAX_BODY_BYTES } from './frame.js';

/** Most characters of a schema's complaint that go into an error message, as it quotes what the peer sent. */
const MAX_COMPLAINT = 300;

/**
 * Writes a document as JSON (RFC 8259) in UTF-8.
 *
 * @param document an object or array that JSON can carry
 * @returns at most MAX_BODY_BYTES bytes
 * @throws RDMA_ERR_INVALID_ARGUMENT when JSON cannot carry it; RDMA_ERR_MESSAGE_TOO_LARGE when it is longer
 */
export function encodeDocument(document: object): Buffer {
  if (!Array.isArray(document)) checkObject('document', document);
  let text: string | undefined;
  try {
    text = JSON.stringify(document);
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'document cannot be written as JSON', { cause });
  }
  if (text === undefined || !/^[[{]/.test(text)) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'document must be written as a JSON object or array');
  }
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.byteLength > MAX_BODY_BYTES) {
    throw new RdmaError(
      'RDMA_ERR_MESSAGE_TOO_LARGE',
      `a document of ${bytes.byteLength} bytes does not fit the control channel; at most ${MAX_BODY_BYTES} do`,
      { remedy: 'send what is large through the ring' },
    );
  }
  return bytes;
}

/**
 * Reads a document. A `__proto__` in it is an ordinary own property and changes no prototype (ECMA-262, JSON.parse);
 * judge the result with `parseDocument` and a strict object before copying its properties anywhere.
 *
 * @param bytes the body of a MESSAGE frame
 * @returns the parsed object or array
 * @throws RDMA_ERR_PROTOCOL when it is not UTF-8, not JSON, or neither object nor array
 */
export function decodeDocument(bytes: Uint8Array): object {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_PROTOCOL', 'the peer sent a message that is not JSON', { cause });
  }
  if (typeof document !== 'object' || document === null) {
    throw new RdmaError('RDMA_ERR_PROTOCOL', 'the peer sent a message that is neither an object nor an array');
  }
  return document;
}

/**
 * Judges a document from a peer by a valibot schema. Use `strictObject`, so that unknown properties are refused too.
 *
 * @param schema a synchronous valibot schema
 * @param document what `receive` or `onMessage` gave
 * @param what the document's name for error messages, for example `the lane offer`
 * @returns the schema's output
 * @throws RDMA_ERR_PROTOCOL naming the document, the path of the first thing wrong and what is wrong with it
 */
export function parseDocument<const Schema extends v.GenericSchema>(
  schema: Schema,
  document: unknown,
  what: string,
): v.InferOutput<Schema> {
  const result = v.safeParse(schema, document, { abortEarly: true });
  if (result.success) return result.output;
  const issue = result.issues[0];
  const path = v.getDotPath(issue);
  const where = path === null ? '' : ` at ${shorten(path)}`;
  throw new RdmaError('RDMA_ERR_PROTOCOL', `${what} is wrong${where}: ${shorten(issue.message)}`);
}

function shorten(text: string): string {
  return text.length > MAX_COMPLAINT ? `${text.slice(0, MAX_COMPLAINT)}...` : text;
}
