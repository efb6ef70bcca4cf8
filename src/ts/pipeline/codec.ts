// How a message of metadata and tensors lies in bytes.
//
//   0         4          8            12         16
//   | "OPM1"  | headBytes| partCount  | reserved | head: JSON, UTF-8 | pad | part 0 | pad | part 1 ...
//                                                                    each part starts on a multiple of 64
//   head: { "head": what the layer above says, "parts": [[name, dtype, shape], ...] }
//
// Invariant: decoding copies nothing and believes nothing: every part must lie inside the message, or the message is
// refused as a whole. A message that starts on a multiple of 64 in memory shows every part aligned.
import * as v from 'valibot';
import { RdmaError } from '../core/errors.js';
import { DTYPES, type Dtype, elementBytes, elementCount, MAX_RANK, type Tensor, tensor, viewTensor } from './tensor.js';

const MAGIC = 0x314d504f; // "OPM1", little-endian
const PREFIX_BYTES = 16;
const ALIGN_BYTES = 64;
/** The most parts of a message. */
export const MAX_PARTS = 64;
/** The most bytes of a message's head as JSON. */
export const MAX_HEAD_BYTES = 2 ** 20;
const MAX_PART_NAME_CHARS = 128;

/** Parts by name. */
export type Parts = Readonly<Record<string, Tensor>>;

const PartTable = v.pipe(
  v.array(
    v.strictTuple([
      v.pipe(v.string(), v.maxLength(MAX_PART_NAME_CHARS)),
      v.picklist(DTYPES),
      v.pipe(v.array(v.pipe(v.number(), v.integer(), v.minValue(0))), v.maxLength(MAX_RANK)),
    ]),
  ),
  v.maxLength(MAX_PARTS),
);

const padding = new Uint8Array(ALIGN_BYTES);

function aligned(length: number): number {
  return Math.ceil(length / ALIGN_BYTES) * ALIGN_BYTES;
}

/**
 * Encodes a message as a list of pieces that, put together, are the message. The tensors' bytes are not copied.
 *
 * @param head any JSON value, at most 1 MiB of it
 * @param parts at most 64 tensors
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when head is not JSON or a part is no tensor, so that whatever is sent
 *   can be decoded; RDMA_ERR_MESSAGE_TOO_LARGE for the limits
 */
export function encodeMessage(head: unknown, parts: Parts = {}): Uint8Array[] {
  const entries = Object.entries(parts);
  if (entries.length > MAX_PARTS) {
    throw new RdmaError(
      'RDMA_ERR_MESSAGE_TOO_LARGE',
      `a message has at most ${MAX_PARTS} parts, not ${entries.length}`,
    );
  }
  for (const [name, part] of entries) checkPart(name, part);
  const table = entries.map(([name, part]) => [name, part.dtype, part.shape]);
  let text: string;
  try {
    if (JSON.stringify(head) === undefined) throw new TypeError(`${typeof head} has no form in JSON`);
    text = JSON.stringify({ head, parts: table });
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `the metadata is not JSON: ${String(cause)}`, { cause });
  }
  const json = Buffer.from(text, 'utf8');
  if (json.byteLength > MAX_HEAD_BYTES) {
    throw new RdmaError(
      'RDMA_ERR_MESSAGE_TOO_LARGE',
      `metadata of ${json.byteLength} bytes; at most ${MAX_HEAD_BYTES}`,
      {
        remedy: 'put large data into tensors',
      },
    );
  }
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32LE(MAGIC, 0);
  prefix.writeUInt32LE(json.byteLength, 4);
  prefix.writeUInt32LE(entries.length, 8);
  const pieces: Uint8Array[] = [prefix, json];
  let at = PREFIX_BYTES + json.byteLength;
  for (const [, part] of entries) {
    if (aligned(at) > at) pieces.push(padding.subarray(0, aligned(at) - at));
    const { buffer, byteOffset, byteLength } = part.data;
    pieces.push(new Uint8Array(buffer, byteOffset, byteLength));
    at = aligned(at) + byteLength;
  }
  return pieces;
}

// What passes here, decodeMessage() takes at the other side; there nobody could be told.
function checkPart(name: string, part: unknown): void {
  if (name.length > MAX_PART_NAME_CHARS) {
    throw new RdmaError(
      'RDMA_ERR_INVALID_ARGUMENT',
      `the name of a part has at most ${MAX_PART_NAME_CHARS} characters`,
    );
  }
  if (typeof part !== 'object' || part === null || !('dtype' in part)) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `part ${name} is no tensor`, { remedy: 'make it with tensor()' });
  }
  const { dtype, shape, data } = part as Tensor;
  tensor(dtype, shape, data);
}

/** Bytes of a message in pieces. */
export function messageBytes(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
}

/**
 * Decodes a message. The tensors are views of `bytes`.
 *
 * @param bytes the message, starting on a multiple of 8 in its buffer
 * @returns what was encoded
 * @throws RdmaError RDMA_ERR_PROTOCOL when the bytes are not a message
 */
export function decodeMessage(bytes: Uint8Array): { head: unknown; parts: Record<string, Tensor> } {
  if (bytes.byteLength < PREFIX_BYTES) throw broken('it is shorter than its prefix');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0, true) !== MAGIC) throw broken('its magic number is wrong');
  const headBytes = view.getUint32(4, true);
  if (headBytes > MAX_HEAD_BYTES || PREFIX_BYTES + headBytes > bytes.byteLength) throw broken('its head is too long');
  const { head, table } = parseHead(bytes.subarray(PREFIX_BYTES, PREFIX_BYTES + headBytes));
  if (table.length !== view.getUint32(8, true)) throw broken('its part count is wrong');
  const parts: Record<string, Tensor> = Object.create(null);
  let at = PREFIX_BYTES + headBytes;
  for (const [name, dtype, shape] of table) {
    const start = aligned(at);
    const count = elementCount(shape);
    const length = count * elementBytes(dtype);
    if (!Number.isSafeInteger(length) || start + length > bytes.byteLength) throw broken(`part ${name} is too long`);
    if (name in parts) throw broken(`part ${name} comes twice`);
    if ((bytes.byteOffset + start) % elementBytes(dtype) !== 0) throw broken('it lies unaligned in memory');
    parts[name] = viewTensor(dtype, shape, bytes.buffer, bytes.byteOffset + start);
    at = start + length;
  }
  if (at !== bytes.byteLength) throw broken('bytes are left over');
  return { head, parts };
}

function parseHead(json: Uint8Array): { head: unknown; table: [string, Dtype, number[]][] } {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(json));
  } catch {
    throw broken('its head is not JSON');
  }
  if (typeof document !== 'object' || document === null || !('head' in document) || !('parts' in document)) {
    throw broken('its head lacks a field');
  }
  const table = v.safeParse(PartTable, document.parts);
  if (!table.success) throw broken('its table of parts is wrong');
  return { head: document.head, table: table.output };
}

function broken(why: string): RdmaError {
  return new RdmaError('RDMA_ERR_PROTOCOL', `not a message of this pipeline: ${why}`);
}
