// The body of a message: trace records, the table of its parts, the metadata, and the bytes of the parts.
//
//   | trace records, 24 bytes each | table | metadata (JSON) | pad to 64 | part | pad to 64 | part ...
//
//   table, for each part    0     1    2          4         6  8
//                           |dtype|rank|in a block|name bytes|0 |rank x u64: the shape |reference, 40 bytes|name | pad to 8
//                                                                                       only when in a block
//
// A part whose bytes lie in a block of their own takes no space behind the table.
//
// Invariant: decoding copies nothing and trusts nothing: every part in the table must lie inside the body.
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
// Where the fields of an entry of the table lie, as drawn above; its dtype is at 0.
const RANK_AT = 1;
const IS_IN_BLOCK_AT = 2;
const NAME_BYTES_AT = 4;
const PAD_AT = 6;
const MAX_NAME_BYTES = 128;
/** Names of parts that are kept encoded; a workflow has a few, and each comes with every message. */
const MAX_KNOWN_NAMES = 1024;
/** Likewise for names that arrive; they are searched one after the other. */
const MAX_DECODED_NAMES = 32;

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

/** What a task has made, or was given, in registered memory. */
export interface RegisteredMemory {
  /** Where the bytes of a tensor lie; undefined: nowhere. */
  referenceOf(tensor: Tensor): MemoryReference | undefined;
}

/**
 * Checks the parts of an output or a request.
 *
 * @param parts tensors by name, at most 64; a name has at most 128 bytes
 * @param memory knows where the bytes of a tensor lie in registered memory; undefined: nowhere, they are to be copied
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the part; RDMA_ERR_MESSAGE_TOO_LARGE for more than 64
 */
export function checkParts(parts: unknown, memory: RegisteredMemory | undefined): readonly PartToSend[] {
  if (parts === undefined) return NO_PARTS;
  if (typeof parts !== 'object' || parts === null || Array.isArray(parts)) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'parts must be an object of tensors by name');
  }
  const list: PartToSend[] = [];
  const names = Object.keys(parts);
  if (names.length > MAX_PARTS) {
    throw new RdmaError('RDMA_ERR_MESSAGE_TOO_LARGE', `a message has at most ${MAX_PARTS} parts`, {
      remedy: 'put tensors of one type into one, with a dimension more',
    });
  }
  for (let i = 0; i < names.length; i++) {
    const name = names[i]!;
    const tensor: unknown = (parts as Record<string, unknown>)[name];
    checkTensor(tensor, name);
    list.push({ name: encodeName(name), tensor, bytes: bytesOf(tensor), reference: memory?.referenceOf(tensor) });
  }
  return list;
}

const NO_PARTS: readonly PartToSend[] = [];

/** A part whose bytes are copied into the body. @internal */
export function encodePart(name: string, tensor: Tensor): PartToSend {
  return { name: encodeName(name), tensor, bytes: bytesOf(tensor), reference: undefined };
}

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
  for (let i = 0; i < parts.length; i++) bytes += entryBytes(parts[i]!);
  return bytes;
}

/** Bytes of all tensors of these parts, wherever they lie. */
export function tensorBytes(parts: readonly PartToSend[]): number {
  let bytes = 0;
  for (let i = 0; i < parts.length; i++) bytes += parts[i]!.bytes.length;
  return bytes;
}

/** Bytes of a body. */
export function bodyBytes(traceBytes: number, parts: readonly PartToSend[], metaBytes: number): number {
  let end = traceBytes + tableBytes(parts) + metaBytes;
  for (let i = 0; i < parts.length; i++) {
    const { bytes, reference } = parts[i]!;
    if (reference === undefined) end = aligned(end) + bytes.length;
  }
  return end;
}

/**
 * Writes a body.
 *
 * @param into memory with room for bodyBytes() from `begin` on
 * @param view the same memory
 * @param begin where the body begins, a multiple of 64
 */
export function writeBody(
  into: Uint8Array,
  view: DataView,
  begin: number,
  trace: Uint8Array,
  parts: readonly PartToSend[],
  meta: Uint8Array,
): void {
  let at = begin;
  if (trace.length > 0) into.set(trace, at);
  at += trace.length;
  for (let i = 0; i < parts.length; i++) at = writeEntry(into, view, at, parts[i]!);
  if (meta.length > 0) into.set(meta, at);
  at += meta.length;
  for (let i = 0; i < parts.length; i++) {
    const { bytes, reference } = parts[i]!;
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
  view.setUint8(begin + RANK_AT, shape.length);
  view.setUint16(begin + IS_IN_BLOCK_AT, reference === undefined ? 0 : 1, true);
  view.setUint16(begin + NAME_BYTES_AT, name.length, true);
  view.setUint16(begin + PAD_AT, 0, true);
  let at = begin + ENTRY_BYTES;
  for (let i = 0; i < shape.length; i++, at += 8) setCount(view, at, shape[i]!);
  if (reference !== undefined) {
    setReference(view, at, reference);
    at += REFERENCE_BYTES;
  }
  const end = at + padded(name.length);
  for (let i = 0; at < end; i++, at++) into[at] = i < name.length ? name[i]! : 0;
  return end;
}

/** What says where the sections of a body are. */
export type BodySizes = Pick<Envelope, 'traceBytes' | 'partCount' | 'tableBytes' | 'metaBytes' | 'bodyBytes'>;

/**
 * Reads the table of a body.
 *
 * @param bytes where the body lies
 * @param view the same memory
 * @param begin where the body begins in it
 * @throws RdmaError RDMA_ERR_PROTOCOL when it does not describe exactly the bytes that are there
 */
export function readTable(envelope: BodySizes, bytes: Uint8Array, view: DataView, begin: number): PartEntry[] {
  const { traceBytes, partCount, tableBytes: length } = envelope;
  const end = begin + traceBytes + length;
  let at = begin + traceBytes;
  let bodyEnd = traceBytes + length + envelope.metaBytes;
  const entries: PartEntry[] = [];
  for (let i = 0; i < partCount; i++) {
    if (at + ENTRY_BYTES > end) throw refused('its table is too short');
    const code = view.getUint8(at);
    const rank = view.getUint8(at + RANK_AT);
    const isInBlock = view.getUint16(at + IS_IN_BLOCK_AT, true);
    const nameBytes = view.getUint16(at + NAME_BYTES_AT, true);
    const dtype = dtypeOfCode(code);
    const shapeAt = at + ENTRY_BYTES;
    const nameAt = shapeAt + 8 * rank + (isInBlock === 0 ? 0 : REFERENCE_BYTES);
    at = nameAt + padded(nameBytes);
    if (dtype === undefined || rank > MAX_RANK || isInBlock > 1 || nameBytes > MAX_NAME_BYTES || at > end) {
      throw refused(`part ${i} is described wrongly`);
    }
    const shape: number[] = [];
    for (let axis = 0; axis < rank; axis++) shape.push(getCount(view, shapeAt + 8 * axis));
    const size = elementCount(shape) * elementBytesOfCode(code);
    if (!Number.isSafeInteger(size)) throw refused(`part ${i} has no size`);
    const name = decodeName(bytes, nameAt, nameBytes);
    for (let j = 0; j < i; j++) if (entries[j]!.name === name) throw refused(`part ${name} comes twice`);
    if (isInBlock === 1) {
      const reference = getReference(view, nameAt - REFERENCE_BYTES, size);
      entries.push({ name, dtype, shape, bytes: size, offset: 0, reference });
      continue;
    }
    const offset = aligned(bodyEnd);
    bodyEnd = offset + size;
    if (bodyEnd > envelope.bodyBytes) throw refused(`part ${name} is too long`);
    entries.push({ name, dtype, shape, bytes: size, offset, reference: undefined });
  }
  if (at !== end) throw refused('its table is too long');
  if (bodyEnd !== envelope.bodyBytes) throw refused('bytes are left over');
  return entries;
}

// The same names come with every message.
const decodedNames: { readonly name: string; readonly bytes: Uint8Array }[] = [];

function decodeName(bytes: Uint8Array, at: number, length: number): string {
  for (let i = 0; i < decodedNames.length; i++) {
    const known = decodedNames[i]!;
    if (isAt(known.bytes, bytes, at, length)) return known.name;
  }
  const own = bytes.slice(at, at + length);
  let name: string;
  try {
    name = decoder.decode(own);
  } catch {
    throw refused('the name of a part is not UTF-8');
  }
  if (decodedNames.length < MAX_DECODED_NAMES) decodedNames.push({ name, bytes: own });
  return name;
}

function isAt(known: Uint8Array, bytes: Uint8Array, at: number, length: number): boolean {
  if (known.length !== length) return false;
  for (let i = 0; i < length; i++) if (known[i] !== bytes[at + i]) return false;
  return true;
}

/** The metadata of a body, still encoded. @param begin where the body begins in `bytes` */
export function metaOf(envelope: BodySizes, bytes: Uint8Array, begin: number): Uint8Array {
  const at = begin + envelope.traceBytes + envelope.tableBytes;
  return bytes.subarray(at, at + envelope.metaBytes);
}

/** The trace records of a body. @param begin where the body begins in `bytes` */
export function traceOf(envelope: Envelope, bytes: Uint8Array, begin: number): Uint8Array {
  return bytes.subarray(begin, begin + envelope.traceBytes);
}
