// Metadata of a message: JSON, encoded once by its author.
//
// Invariant: encoded metadata decodes to the same value. A value that JSON would change silently (NaN, a Map, a typed
// array, a Date, undefined in an array) is refused with its path.
import { RdmaError } from '../core/errors.js';

/** JSON metadata. */
export type Meta = Record<string, unknown>;

/** The most bytes of metadata, as JSON. */
export const MAX_META_BYTES = 2 ** 20;

const NO_BYTES = new Uint8Array(0);
const decoder = new TextDecoder('utf-8', { fatal: true });

/**
 * Encodes metadata.
 *
 * @param meta a plain object of null, booleans, finite numbers, strings, arrays and plain objects; a property that is
 *   undefined is left out; -0 arrives as 0
 * @returns JSON in UTF-8, at most 1 MiB; no bytes for an object without properties
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the path of what JSON cannot carry; RDMA_ERR_MESSAGE_TOO_LARGE
 */
export function encodeMeta(meta: unknown): Uint8Array {
  if (!isPlainObject(meta)) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `metadata must be a plain object, not ${nameOf(meta)}`, {
      remedy: 'put the value under a name: { value: ... }',
    });
  }
  let text: string;
  try {
    checkValue(meta, 'meta', []);
    text = JSON.stringify(meta);
  } catch (cause) {
    if (cause instanceof RdmaError) throw cause;
    // A getter that throws, or what is nested too deeply.
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `the metadata is not JSON: ${String(cause)}`, { cause });
  }
  if (text === '{}') return NO_BYTES;
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.byteLength > MAX_META_BYTES) {
    throw new RdmaError(
      'RDMA_ERR_MESSAGE_TOO_LARGE',
      `metadata of ${bytes.byteLength} bytes; at most ${MAX_META_BYTES}`,
      {
        remedy: 'put large data into tensors',
      },
    );
  }
  return bytes;
}

/** Decodes what encodeMeta() made. @throws RdmaError RDMA_ERR_PROTOCOL when the bytes are not a JSON object */
export function decodeMeta(bytes: Uint8Array): Meta {
  if (bytes.byteLength === 0) return {};
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(bytes));
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_PROTOCOL', 'the metadata of a message is not JSON', { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new RdmaError('RDMA_ERR_PROTOCOL', 'the metadata of a message is not an object');
  }
  return value as Meta;
}

// `inside`: the objects and arrays that contain the value.
function checkValue(value: unknown, path: string, inside: object[]): void {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return;
    case 'number':
      if (Number.isFinite(value)) return;
      break;
    case 'object':
      if (value === null) return;
      if (inside.includes(value)) throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${path} contains itself`);
      if (!Array.isArray(value) && !isPlainObject(value)) break;
      inside.push(value);
      if (Array.isArray(value)) checkArray(value, path, inside);
      else checkProperties(value, path, inside);
      inside.pop();
      return;
  }
  throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${path} is ${nameOf(value)}, which JSON does not carry unchanged`, {
    remedy: 'put numbers into a tensor, other values into a form that JSON has',
  });
}

function checkArray(list: readonly unknown[], path: string, inside: object[]): void {
  // Not for...of: holes are undefined here, and would become null.
  for (let i = 0; i < list.length; i++) checkValue(list[i], `${path}[${i}]`, inside);
  if (Object.keys(list).length === list.length && !('toJSON' in list)) return;
  throw new RdmaError(
    'RDMA_ERR_INVALID_ARGUMENT',
    `${path} has properties beside its elements, which JSON does not carry`,
  );
}

function checkProperties(value: Meta, path: string, inside: object[]): void {
  for (const key of Object.keys(value)) {
    const property = value[key];
    if (property !== undefined) checkValue(property, `${path}.${key}`, inside);
  }
  for (const key of Object.getOwnPropertySymbols(value)) {
    throw new RdmaError(
      'RDMA_ERR_INVALID_ARGUMENT',
      `${path} has the property ${String(key)}, which JSON does not carry`,
    );
  }
}

// An object literal of any realm, or one without a prototype; nothing that has a form of its own, such as a Map.
function isPlainObject(value: unknown): value is Meta {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype = Object.getPrototypeOf(value);
  const isPlain = prototype === null || Object.getPrototypeOf(prototype) === null;
  return isPlain && typeof (value as Meta).toJSON !== 'function';
}

function nameOf(value: unknown): string {
  if (typeof value === 'number') return String(value);
  if (typeof value !== 'object' || value === null) return value === null ? 'null' : typeof value;
  return Object.prototype.toString.call(value).slice('[object '.length, -1);
}
