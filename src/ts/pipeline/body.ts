// The body of a message: what happened so far, the table of its parts, the metadata, and the bytes of the parts.
//
//   | trace records, 24 bytes each | table | metadata (JSON) | pad to 64 | part | pad to 64 | part ...
//
//   table, for each part    0     1    2          4         6  8
//                           |dtype|rank|in a block|name bytes|0 |rank x u64: the shape |reference, 40 bytes|name | pad to 8
//                                                                                       only when in a block
//
// A part whose bytes lie in a block of their own takes no room behind the table.
//
// Invariant: decoding copies nothing and believes nothing: what the table says of a part must lie inside the body.
import { RdmaError } from '../core/errors.js';
import type { MemoryReference } from '../ring/index.js';
import {
  ALIGN_BYTES,
  type Envelope,
  getCount,
  getReference,
  MAX_PARTS,
  REFERENCE_BYTES,
  refused,
  setCount,
  setReference,
} from './envelope.js';
import {
  bytesOf,
  checkTensor,
  type Dtype,
  dtypeCode,
  dtypeOfCode,
  elementBytesOfCode,
  elementCount,
  MAX_RANK,
  type Tensor,
} from './tensor.js';

/** Parts by name. */
export type Parts = Readonly<Record<string, Tensor>>;

const ENTRY_BYTES = 8;
const MAX_NAME_BYTES = 128;
/** Names of parts that are kept encoded; a workflow has a few, and each comes with every message. */
const MAX_KNOWN_NAMES = 1024;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });
const knownNames = new Map<string, Uint8Array>();

/** A part that is going to be sent. */
export interface PartToSend {
  readonly name: Uint8Array;
  readonly tensor: Tensor;
  readonly bytes: Uint8Array;
  /** Where its bytes lie already; undefined: they are copied into the body. */
  readonly reference: MemoryReference | undefined;
}

/** A part as its message's table describes it. */
export interface PartEntry {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Bytes of the part. */
  readonly bytes: number;
  /** Where it begins in the body, unless it has a block of its own. */
  readonly offset: number;
  readonly reference: MemoryReference | undefined;
}

/**
 * Checks the parts of an output or a request.
 *
 * @param parts tensors by name, at most 64; a name has at most 128 bytes
 * @param referenceOf where the bytes of a tensor lie in registered memory; undefined: nowhere, they are to be copied
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the part; RDMA_ERR_MESSAGE_TOO_LARGE for more than 64
 */
export function checkParts(
  parts: unknown,
  referenceOf: (tensor: Tensor) => MemoryReference | undefined,
): readonly PartToSend[] {
  if (parts === undefined) return NO_PARTS;
  if (typeof parts !== 'object' || parts === null || Array.isArray(parts)) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'parts must be an object of tensors by name');
  }
  const list: PartToSend[] = [];
  for (const name of Object.keys(parts)) {
    if (list.length >= MAX_PARTS) {
      throw new RdmaError('RDMA_ERR_MESSAGE_TOO_LARGE', `a message has at most ${MAX_PARTS} parts`, {
        remedy: 'put tensors of one type into one, with a dimension more',
      });
    }
    const tensor: unknown = (parts as Record<string, unknown>)[name];
    checkTensor(`part ${name}`, tensor);
    list.push({ name: encodeName(name), tensor, bytes: bytesOf(tensor), reference: referenceOf(tensor) });
  }
  return list;
}

const NO_PARTS: readonly PartToSend[] = [];

function encodeName(name: string): Uint8Array {
  const known = knownNames.get(name);
  if (known !== undefined) return known;
  const bytes = encoder.encode(name);
  if (bytes.length > MAX_NAME_BYTES) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `the name of a part has at most ${MAX_NAME_BYTES} bytes`);
  }
  // A lone surrogate would arrive as another character.
  if (decoder.decode(bytes) !== name) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `the name of a part is not well-formed: ${JSON.stringify(name)}`);
  }
  if (knownNames.size < MAX_KNOWN_NAMES) knownNames.set(name, bytes);
  return bytes;
}

const aligned = (length: number): number => Math.ceil(length / ALIGN_BYTES) * ALIGN_BYTES;
const padded = (length: number): number => (length + 7) & -8;

function entryBytes(part: PartToSend): number {
  const { name, tensor, reference } = part;
  const shape = 8 * tensor.shape.length;
  return ENTRY_BYTES + shape + (reference === undefined ? 0 : REFERENCE_BYTES) + padded(name.length);
}

/** Bytes of the table of these parts. */
export function tableBytes(parts: readonly PartToSend[]): number {
  let bytes = 0;
  for (const part of parts) bytes += entryBytes(part);
  return bytes;
}

/** Bytes of all tensors of these parts, wherever they lie. */
export function tensorBytes(parts: readonly PartToSend[]): number {
  let bytes = 0;
  for (const part of parts) bytes += part.bytes.length;
  return bytes;
}

/** Bytes of a body. */
export function bodyBytes(traceBytes: number, parts: readonly PartToSend[], metaBytes: number): number {
  let end = traceBytes + tableBytes(parts) + metaBytes;
  for (const { bytes, reference } of parts) if (reference === undefined) end = aligned(end) + bytes.length;
  return end;
}

/**
 * Writes a body.
 *
 * @param into where it begins, and at least bodyBytes() long
 * @param view the same memory
 */
export function writeBody(
  into: Uint8Array,
  view: DataView,
  trace: Uint8Array,
  parts: readonly PartToSend[],
  meta: Uint8Array,
): void {
  into.set(trace, 0);
  let at = trace.length;
  for (const part of parts) at = writeEntry(into, view, at, part);
  into.set(meta, at);
  at += meta.length;
  for (const { bytes, reference } of parts) {
    if (reference !== undefined) continue;
    const start = aligned(at);
    into.fill(0, at, start);
    into.set(bytes, start);
    at = start + bytes.length;
  }
}

function writeEntry(into: Uint8Array, view: DataView, begin: number, part: PartToSend): number {
  const { name, tensor, reference } = part;
  const { shape } = tensor;
  view.setUint8(begin, dtypeCode(tensor.dtype));
  view.setUint8(begin + 1, shape.length);
  view.setUint16(begin + 2, reference === undefined ? 0 : 1, true);
  view.setUint16(begin + 4, name.length, true);
  view.setUint16(begin + 6, 0, true);
  let at = begin + ENTRY_BYTES;
  for (let i = 0; i < shape.length; i++, at += 8) setCount(view, at, shape[i]!);
  if (reference !== undefined) {
    setReference(view, at, reference);
    at += REFERENCE_BYTES;
  }
  into.set(name, at);
  const end = at + padded(name.length);
  into.fill(0, at + name.length, end);
  return end;
}

/**
 * Reads the table of a body.
 *
 * @param body the body, beginning on a multiple of 8 in its buffer
 * @throws RdmaError RDMA_ERR_PROTOCOL when it does not describe exactly the bytes that are there
 */
export function readTable(envelope: Envelope, body: Uint8Array, view: DataView): PartEntry[] {
  const { traceBytes, partCount } = envelope;
  const end = traceBytes + envelope.tableBytes;
  let at = traceBytes;
  let bytesEnd = end + envelope.metaBytes;
  const entries: PartEntry[] = [];
  for (let i = 0; i < partCount; i++) {
    if (at + ENTRY_BYTES > end) throw refused('its table is too short');
    const code = view.getUint8(at);
    const rank = view.getUint8(at + 1);
    const isInBlock = view.getUint16(at + 2, true);
    const nameBytes = view.getUint16(at + 4, true);
    const dtype = dtypeOfCode(code);
    const shapeAt = at + ENTRY_BYTES;
    const nameAt = shapeAt + 8 * rank + (isInBlock === 0 ? 0 : REFERENCE_BYTES);
    at = nameAt + padded(nameBytes);
    if (dtype === undefined || rank > MAX_RANK || isInBlock > 1 || nameBytes > MAX_NAME_BYTES || at > end) {
      throw refused(`part ${i} is described wrongly`);
    }
    const shape: number[] = [];
    for (let axis = 0; axis < rank; axis++) shape.push(getCount(view, shapeAt + 8 * axis));
    const bytes = elementCount(shape) * elementBytesOfCode(code);
    if (!Number.isSafeInteger(bytes)) throw refused(`part ${i} has no size`);
    const name = decodeName(body.subarray(nameAt, nameAt + nameBytes));
    for (const other of entries) if (other.name === name) throw refused(`part ${name} comes twice`);
    if (isInBlock === 1) {
      const reference = getReference(view, nameAt - REFERENCE_BYTES, bytes);
      entries.push({ name, dtype, shape, bytes, offset: 0, reference });
      continue;
    }
    const offset = aligned(bytesEnd);
    bytesEnd = offset + bytes;
    if (bytesEnd > envelope.bodyBytes) throw refused(`part ${name} is too long`);
    entries.push({ name, dtype, shape, bytes, offset, reference: undefined });
  }
  if (at !== end) throw refused('its table is too long');
  if (bytesEnd !== envelope.bodyBytes) throw refused('bytes are left over');
  return entries;
}

function decodeName(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw refused('the name of a part is not UTF-8');
  }
}

/** The metadata of a body, still encoded. */
export function metaOf(envelope: Envelope, body: Uint8Array): Uint8Array {
  const at = envelope.traceBytes + envelope.tableBytes;
  return body.subarray(at, at + envelope.metaBytes);
}

/** The trace records of a body. */
export function traceOf(envelope: Envelope, body: Uint8Array): Uint8Array {
  return body.subarray(0, envelope.traceBytes);
}
