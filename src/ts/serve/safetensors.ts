// The safetensors format (github.com/huggingface/safetensors, "Format"):
//
//   | u64 header bytes | {"__metadata__": {...}, "name": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}} spaces | data |
//
// Invariant: the tensors of a file cover its data exactly, without a hole or an overlap, or the file is refused.
import { type Dtype, elementBytes, MAX_PARTS, type Tensor } from '../pipeline/index.js';
import { bytesOf } from '../pipeline/tensor.js';
import { badBody, tensorOver } from './tensor-bytes.js';

/** The media type that safetensors are sent with; it is not registered. */
export const SAFETENSORS_TYPE = 'application/x-safetensors';

/** The longest header that is read. */
const MAX_HEADER_BYTES = 2 * 2 ** 20;
const METADATA = '__metadata__';

const NAMES: Record<Dtype, string> = {
  u8: 'U8',
  i8: 'I8',
  u16: 'U16',
  i16: 'I16',
  u32: 'U32',
  i32: 'I32',
  u64: 'U64',
  i64: 'I64',
  f16: 'F16',
  bf16: 'BF16',
  f32: 'F32',
  f64: 'F64',
  bool: 'BOOL',
  f8e4m3: 'F8_E4M3',
  f8e5m2: 'F8_E5M2',
};
const DTYPES_BY_NAME = new Map(Object.entries(NAMES).map(([dtype, name]) => [name, dtype as Dtype] as const));
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** What a file holds. */
export interface SafetensorsFile {
  tensors: Record<string, Tensor>;
  metadata: Record<string, string>;
}

interface Entry {
  name: string;
  dtype: Dtype;
  shape: number[];
  begin: number;
  end: number;
}

/**
 * Reads a file.
 *
 * @param bytes the whole file
 * @param what names it in errors
 * @returns tensors over these bytes (those that lie unaligned are copied), at most 64, and the metadata
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for what is no such file
 */
export function decodeSafetensors(bytes: Uint8Array, what = 'the file'): SafetensorsFile {
  const bad = (text: string, cause?: unknown) => badBody(`${what} is no safetensors file: ${text}`, undefined, cause);
  if (bytes.byteLength < 8) throw bad('it is shorter than 8 bytes');
  const headerBytes = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  if (headerBytes > MAX_HEADER_BYTES) throw bad(`its header has ${headerBytes} bytes; at most ${MAX_HEADER_BYTES}`);
  if (headerBytes > bytes.byteLength - 8) throw bad('it is shorter than its header');
  let header: unknown;
  try {
    const text = decoder.decode(bytes.subarray(8, 8 + headerBytes));
    if (text.startsWith('{')) header = JSON.parse(text);
  } catch (cause) {
    throw bad('its header is not JSON', cause);
  }
  if (!isObject(header)) throw bad('its header is not a JSON object');
  const data = bytes.subarray(8 + headerBytes);
  const entries: Entry[] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name !== METADATA) entries.push(entryOf(name, value, bad));
  }
  if (entries.length > MAX_PARTS) throw bad(`it has ${entries.length} tensors; at most ${MAX_PARTS}`);
  checkCover(entries, data.byteLength, bad);
  const tensors: Record<string, Tensor> = Object.create(null);
  for (const { name, dtype, shape, begin, end } of entries) {
    tensors[name] = tensorOver(`tensor ${name} of ${what}`, dtype, shape, data.subarray(begin, end));
  }
  return { tensors, metadata: metadataOf(Object.hasOwn(header, METADATA) ? header[METADATA] : {}, bad) };
}

type Bad = (text: string) => Error;

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function entryOf(name: string, value: unknown, bad: Bad): Entry {
  const shown = JSON.stringify(name.slice(0, 100));
  if (!isObject(value)) throw bad(`tensor ${shown} is not described`);
  const dtype = DTYPES_BY_NAME.get(String(value.dtype));
  if (dtype === undefined) throw bad(`tensor ${shown} has an unknown dtype`);
  const { shape, data_offsets: offsets } = value;
  const isCount = (item: unknown): item is number => Number.isSafeInteger(item) && (item as number) >= 0;
  if (!Array.isArray(shape) || !shape.every(isCount)) throw bad(`the shape of tensor ${shown} is none`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw bad(`the offsets of tensor ${shown} are none`);
  }
  return { name, dtype, shape, begin: offsets[0]!, end: offsets[1]! };
}

function checkCover(entries: readonly Entry[], bytes: number, bad: Bad): void {
  const sorted = [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end);
  let at = 0;
  for (const { begin, end } of sorted) {
    if (begin !== at || end < begin) throw bad('its tensors do not follow each other');
    at = end;
  }
  if (at !== bytes) throw bad(`its tensors take ${at} bytes of ${bytes}`);
}

function metadataOf(value: unknown, bad: Bad): Record<string, string> {
  if (!isObject(value)) throw bad('its metadata is not an object');
  const metadata: Record<string, string> = Object.create(null);
  for (const [name, text] of Object.entries(value)) {
    if (typeof text !== 'string') throw bad('its metadata is not text');
    metadata[name] = text;
  }
  return metadata;
}

/**
 * Writes a file.
 *
 * @param tensors by name; `__metadata__` is not one
 * @returns the file in pieces: its head, and views of the tensors' bytes, larger elements first, so that all are
 *   aligned
 */
export function encodeSafetensors({ tensors, metadata }: SafetensorsFile): Uint8Array[] {
  const order = Object.entries(tensors).sort(
    ([a, x], [b, y]) => elementBytes(y.dtype) - elementBytes(x.dtype) || (a < b ? -1 : 1),
  );
  const header: [string, unknown][] = Object.keys(metadata).length === 0 ? [] : [[METADATA, metadata]];
  const pieces: Uint8Array[] = [];
  let at = 0;
  for (const [name, source] of order) {
    if (name === METADATA) throw badBody(`${METADATA} is not the name of a tensor`);
    const bytes = bytesOf(source);
    header.push([name, { dtype: NAMES[source.dtype], shape: source.shape, data_offsets: [at, at + bytes.byteLength] }]);
    pieces.push(bytes);
    at += bytes.byteLength;
  }
  // Pairs and not an object, which would move names that look like numbers to the front.
  const text = Buffer.from(
    `{${header.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`,
  );
  const headerBytes = Math.ceil(text.length / 8) * 8;
  const head = Buffer.alloc(8 + headerBytes, ' ');
  head.writeBigUInt64LE(BigInt(headerBytes), 0);
  text.copy(head, 8);
  return [head, ...pieces];
}
