// Tensors: a typed array, its element type and its shape.
//
// Invariant: `data` has exactly as many elements as the shape says, so no handler reads past what was sent.
import { RdmaError } from '../core/errors.js';

/** The elements of a tensor, as JavaScript shows them. */
export type TensorData =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array
  | Float32Array
  | Float64Array;

/** A Float16Array (ECMA-262, 2025), which the libraries of older TypeScript do not declare. */
export interface Float16Data {
  readonly [Symbol.toStringTag]: 'Float16Array';
  readonly buffer: ArrayBufferLike;
  readonly byteOffset: number;
  readonly byteLength: number;
  readonly length: number;
}

interface DtypeInfo {
  readonly bytes: number;
  /** The names of the typed arrays that may hold it (ECMA-262, %TypedArray%.prototype[@@toStringTag]). */
  readonly arrays: readonly string[];
  readonly view: (buffer: ArrayBufferLike, offset: number, count: number) => TensorData;
}

const u8 = (b: ArrayBufferLike, o: number, n: number) => new Uint8Array(b, o, n);
const u16 = (b: ArrayBufferLike, o: number, n: number) => new Uint16Array(b, o, n);
const BYTES = ['Uint8Array', 'Uint8ClampedArray'];

const dtypes = {
  u8: { bytes: 1, arrays: BYTES, view: u8 },
  i8: { bytes: 1, arrays: ['Int8Array'], view: (b, o, n) => new Int8Array(b, o, n) },
  u16: { bytes: 2, arrays: ['Uint16Array'], view: u16 },
  i16: { bytes: 2, arrays: ['Int16Array'], view: (b, o, n) => new Int16Array(b, o, n) },
  u32: { bytes: 4, arrays: ['Uint32Array'], view: (b, o, n) => new Uint32Array(b, o, n) },
  i32: { bytes: 4, arrays: ['Int32Array'], view: (b, o, n) => new Int32Array(b, o, n) },
  u64: { bytes: 8, arrays: ['BigUint64Array'], view: (b, o, n) => new BigUint64Array(b, o, n) },
  i64: { bytes: 8, arrays: ['BigInt64Array'], view: (b, o, n) => new BigInt64Array(b, o, n) },
  f16: { bytes: 2, arrays: ['Uint16Array', 'Float16Array'], view: u16 },
  bf16: { bytes: 2, arrays: ['Uint16Array'], view: u16 },
  f32: { bytes: 4, arrays: ['Float32Array'], view: (b, o, n) => new Float32Array(b, o, n) },
  f64: { bytes: 8, arrays: ['Float64Array'], view: (b, o, n) => new Float64Array(b, o, n) },
  // At the end: the position of a name is its number in messages.
  bool: { bytes: 1, arrays: BYTES, view: u8 },
  f8e4m3: { bytes: 1, arrays: BYTES, view: u8 },
  f8e5m2: { bytes: 1, arrays: BYTES, view: u8 },
} satisfies Record<string, DtypeInfo>;

/**
 * Element types. f16 and bf16 are shown as their bits in a Uint16Array; the 8-bit floats (OCP 8-bit Floating Point
 * Specification, E4M3 and E5M2) and bool as bytes in a Uint8Array.
 */
export type Dtype = keyof typeof dtypes;

/** Every element type. */
export const DTYPES = Object.keys(dtypes) as Dtype[];
/** The most dimensions of a tensor. */
export const MAX_RANK = 8;

const infos: readonly DtypeInfo[] = Object.values(dtypes);

/** A block of numbers with a shape; `data` may be a view of received memory. */
export interface Tensor {
  dtype: Dtype;
  shape: readonly number[];
  data: TensorData;
}

/** How many elements a shape has; NaN when it is not one (rank over 8, a dimension that is not a count). */
export function elementCount(shape: readonly number[]): number {
  if (shape.length > MAX_RANK) return Number.NaN;
  let count = 1;
  for (let i = 0; i < shape.length; i++) {
    const dimension = shape[i]!;
    if (!Number.isSafeInteger(dimension) || dimension < 0) return Number.NaN;
    count *= dimension;
  }
  return Number.isSafeInteger(count) ? count : Number.NaN;
}

/** Bytes of one element. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for a name that is not a dtype */
export function elementBytes(dtype: Dtype): number {
  return infoOf(dtype).bytes;
}

function infoOf(dtype: unknown): DtypeInfo {
  if (typeof dtype === 'string' && Object.hasOwn(dtypes, dtype)) return dtypes[dtype as Dtype];
  throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `dtype must be one of ${DTYPES.join(', ')}, not ${String(dtype)}`);
}

/** The number of a dtype in messages. */
export function dtypeCode(dtype: Dtype): number {
  return DTYPES.indexOf(dtype);
}

/** The dtype with this number in messages; undefined: there is none. */
export function dtypeOfCode(code: number): Dtype | undefined {
  return DTYPES[code];
}

/** Bytes of one element of the dtype with this number, which exists. */
export function elementBytesOfCode(code: number): number {
  return infos[code]!.bytes;
}

/**
 * Makes a tensor, without a copy.
 *
 * @param dtype the element type; `data` must be its typed array (of any realm); for f16 also a Float16Array, where
 *   JavaScript has it (Node.js 24), of which a receiver sees the bits
 * @param shape up to 8 dimensions, whose product is the number of elements; a dimension may be 0
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when dtype, shape and data do not agree
 */
export function tensor(dtype: Dtype, shape: readonly number[], data: TensorData | Float16Data): Tensor {
  const made = { dtype, shape, data: data as TensorData };
  checkTensor(made);
  return made;
}

/**
 * Checks that dtype, shape and data of a tensor agree.
 *
 * @param part its name among the parts of a message, for the error
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when they do not, or it is no tensor
 */
export function checkTensor(value: unknown, part?: string): asserts value is Tensor {
  if (typeof value !== 'object' || value === null || !('dtype' in value)) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${namedTensor(part)} is not a tensor`, {
      remedy: 'make it with tensor()',
    });
  }
  const { dtype, shape, data } = value as Partial<Tensor>;
  const info = infoOf(dtype);
  // Not instanceof: arrays of another realm (node:vm, a test runner) are as good.
  const kind = ArrayBuffer.isView(data) ? (data as { [Symbol.toStringTag]?: string })[Symbol.toStringTag] : undefined;
  if (kind === undefined || !info.arrays.includes(kind)) {
    const found = kind ?? typeof data;
    const text = `the data of ${namedTensor(part)} of dtype ${dtype} must be a ${info.arrays[0]}, not ${found}`;
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', text);
  }
  if (!Array.isArray(shape)) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `the shape of ${namedTensor(part)} must be an array`);
  }
  const { length } = data as TensorData;
  if (elementCount(shape) !== length) throw shapeError(namedTensor(part), shape, length);
}

function shapeError(what: string, shape: readonly unknown[], length: number): RdmaError {
  const shown = shape.slice(0, 2 * MAX_RANK).map(String); // a symbol too
  if (shape.length > shown.length) shown.push('...');
  const text = `${what} of shape [${shown.join(', ')}]`;
  const refuse = (why: string, remedy: string) =>
    new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${text} ${why}`, { remedy });
  if (shape.length > MAX_RANK) {
    return refuse(`has ${shape.length} dimensions; at most ${MAX_RANK}`, 'let one dimension stand for several');
  }
  const isCount = (dimension: unknown) => Number.isSafeInteger(dimension) && (dimension as number) >= 0;
  if (!shape.every(isCount)) return refuse('is none', 'a dimension is an integer from 0');
  return refuse(`does not have the ${length} elements of its data`, 'the product of the dimensions is their number');
}

function namedTensor(part: string | undefined): string {
  return part === undefined ? 'a tensor' : `part ${part}`;
}

/** A view of `buffer` as a tensor. The offset must be a multiple of the element's size. */
export function viewTensor(dtype: Dtype, shape: readonly number[], buffer: ArrayBufferLike, offset: number): Tensor {
  return { dtype, shape, data: dtypes[dtype].view(buffer, offset, elementCount(shape)) };
}

/** The bytes of a tensor's data; not a copy. */
export function bytesOf(source: Tensor): Uint8Array {
  const { data } = source;
  if (data instanceof Uint8Array) return data;
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** A copy that owns its memory. */
export function copyTensor(source: Tensor): Tensor {
  return { dtype: source.dtype, shape: source.shape, data: source.data.slice() };
}
