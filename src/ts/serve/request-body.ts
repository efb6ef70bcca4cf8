// From the body of an HTTP request to a request of the pipeline.
//
// Invariant: every form of body gives the same thing, metadata and tensors by name; images and other files stay as they
// are, bytes of which `meta.media` says the type.
import { RdmaError } from '../core/errors.js';
import { checkObject } from '../core/validate.js';
import type { Meta, Parts, Tensor } from '../pipeline/index.js';
import { decodeJsonRequest } from './json-tensors.js';
import { JSON_TYPE, mediaType, OCTETS, withMedia } from './media.js';
import { decodeMultipart, FORM_TYPE, type FormPart } from './multipart.js';
import { decodeNpy, NPY_TYPE } from './npy.js';
import { decodeSafetensors, SAFETENSORS_TYPE } from './safetensors.js';
import { badBody } from './tensor-bytes.js';

/** The metadata that a safetensors file carries, as JSON, and the name of a form's metadata. */
export const META_FIELD = 'meta';
/** The name of the part of a raw body when the client gives none. */
export const DEFAULT_PART = 'data';

/** The bodies that are read, beside JSON and forms. */
const RAW_TYPE = /^(image|audio|video)\/[a-z0-9!#$&^_.+-]{1,100}$/;

/** What comes with a raw body in the query. */
export interface RawQuery {
  /** The name of its part; default `data`. */
  part?: string | undefined;
  /** Metadata, as JSON. */
  meta?: string | undefined;
}

/** A request as the pipeline takes it. */
export interface DecodedRequest {
  meta: Meta;
  parts: Parts;
}

/** Tells whether a body of this type is read as bytes. */
export function isRawType(type: string): boolean {
  return type === OCTETS || type === NPY_TYPE || type === SAFETENSORS_TYPE || RAW_TYPE.test(type);
}

/**
 * Reads a body.
 *
 * @param contentType the header
 * @param body parsed JSON for `application/json`, otherwise the bytes
 * @param query for raw bodies; forms and JSON carry their own metadata
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT saying what is wrong; RDMA_ERR_NOT_SUPPORTED for another type
 */
export function decodeBody(contentType: string | undefined, body: unknown, query: RawQuery): DecodedRequest {
  const type = mediaType(contentType);
  if (type === JSON_TYPE || type === FORM_TYPE) {
    if (query.part !== undefined || query.meta !== undefined) {
      throw badBody('part and meta of the query are for raw bodies', 'put them into the body');
    }
    return type === JSON_TYPE ? decodeJsonRequest(body) : decodeForm(decodeMultipart(body as Buffer, contentType!));
  }
  if (type === undefined || !isRawType(type)) {
    throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', `bodies of type ${type ?? 'none'} are not read`, {
      remedy: `send ${JSON_TYPE}, ${FORM_TYPE}, ${SAFETENSORS_TYPE}, ${NPY_TYPE}, ${OCTETS} or an image`,
    });
  }
  const meta = query.meta === undefined ? {} : parseMeta(query.meta);
  return decodeFiles([{ name: query.part ?? DEFAULT_PART, filename: undefined, type, content: body as Buffer }], meta);
}

function parseMeta(text: string): Meta {
  let meta: unknown;
  try {
    meta = JSON.parse(text);
  } catch (cause) {
    throw badBody('meta is not JSON', undefined, cause);
  }
  return checkObject<Meta>('meta', meta);
}

function decodeForm(form: readonly FormPart[]): DecodedRequest {
  let meta: Meta | undefined;
  const files: FormPart[] = [];
  for (const part of form) {
    const isText =
      part.filename === undefined && (part.type === undefined || /^text\/|^application\/json$/.test(part.type));
    if (part.name === META_FIELD && (isText || part.type === JSON_TYPE)) {
      meta = parseMeta(Buffer.from(part.content).toString('utf8'));
    } else if (isText) {
      throw badBody(
        `the form has the text ${JSON.stringify(part.name.slice(0, 64))}`,
        'put it into meta, which is JSON',
      );
    } else files.push(part);
  }
  return decodeFiles(files, meta ?? {});
}

function decodeFiles(files: readonly FormPart[], given: Meta): DecodedRequest {
  let meta = given;
  const parts: Record<string, Tensor> = Object.create(null);
  const media: Record<string, string> = {};
  const add = (name: string, part: Tensor) => {
    if (name in parts) throw badBody(`there are two parts ${JSON.stringify(name.slice(0, 64))}`);
    parts[name] = part;
  };
  for (const { name, filename, type = OCTETS, content } of files) {
    const ending = type === OCTETS ? /\.[a-z]+$/.exec(filename ?? '')?.[0] : undefined;
    if (type === NPY_TYPE || ending === '.npy') add(name, decodeNpy(content, `part ${name}`));
    else if (type === SAFETENSORS_TYPE || ending === '.safetensors') {
      const file = decodeSafetensors(content, `part ${name}`);
      for (const [inner, part] of Object.entries(file.tensors)) add(inner, part);
      const own = file.metadata[META_FIELD];
      if (own !== undefined) meta = { ...parseMeta(own), ...meta };
    } else {
      add(name, { dtype: 'u8', shape: [content.byteLength], data: content });
      if (type !== OCTETS) media[name] = type;
    }
  }
  return { meta: withMedia(meta, media), parts };
}
