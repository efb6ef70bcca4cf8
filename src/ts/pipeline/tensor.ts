// Tensors: a typed array, its element type and its shape.
//
// Invariant: `data` has exactly as many elements as the shape says, so no handler reads past what was sent.
import { RdmaError } from '../core/errors.js';

/** Element types. The 16-bit floats are shown as their bits in a Uint16Array. */
export type Dtype = 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'u64' | 'i64' | 'f16' | 'bf16' | 'f32' | 'f64';

/** The elements of a tensor, as JavaScript shows them; f16 and bf16 as their 16 bits. */
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

interface DtypeInfo {
  bytes: number;
  view(buffer: ArrayBufferLike, offset: number, count: number): TensorData;
  is(data: TensorData): boolean;
}

const dtypes: Record<Dtype, DtypeInfo> = {
  u8: { bytes: 1, view: (b, o, n) => new Uint8Array(b, o, n), is: (d) => d instanceof Uint8Array },
  i8: { bytes: 1, view: (b, o, n) => new Int8Array(b, o, n), is: (d) => d instanceof Int8Array },
  u16: { bytes: 2, view: (b, o, n) => new Uint16Array(b, o, n), is: (d) => d instanceof Uint16Array },
  i16: { bytes: 2, view: (b, o, n) => new Int16Array(b, o, n), is: (d) => d instanceof Int16Array },
  u32: { bytes: 4, view: (b, o, n) => new Uint32Array(b, o, n), is: (d) => d instanceof Uint32Array },
  i32: { bytes: 4, view: (b, o, n) => new Int32Array(b, o, n), is: (d) => d instanceof Int32Array },
  u64: { bytes: 8, view: (b, o, n) => new BigUint64Array(b, o, n), is: (d) => d instanceof BigUint64Array },
  i64: { bytes: 8, view: (b, o, n) => new BigInt64Array(b, o, n), is: (d) => d instanceof BigInt64Array },
  f16: { bytes: 2, view: (b, o, n) => new Uint16Array(b, o, n), is: (d) => d instanceof Uint16Array },
  bf16: { bytes: 2, view: (b, o, n) => new Uint16Array(b, o, n), is: (d) => d instanceof Uint16Array },
  f32: { bytes: 4, view: (b, o, n) => new Float32Array(b, o, n), is: (d) => d instanceof Float32Array },
  f64: { bytes: 8, view: (b, o, n) => new Float64Array(b, o, n), is: (d) => d instanceof Float64Array },
};

/** Every element type. */
export const DTYPES = Object.keys(dtypes) as Dtype[];
/** The most dimensions of a tensor. */
export const MAX_RANK = 8;

/** A block of numbers with a shape; `data` may be a view of received memory. */
export interface Tensor {
  dtype: Dtype;
  shape: readonly number[];
  data: TensorData;
}

/** How many elements a shape has; NaN when it is not one (rank over 8, a dimension that is no count). */
export function elementCount(shape: readonly number[]): number {
  if (shape.length > MAX_RANK) return Number.NaN;
  let count = 1;
  for (const dimension of shape) {
    if (!Number.isSafeInteger(dimension) || dimension < 0) return Number.NaN;
    count *= dimension;
  }
  return Number.isSafeInteger(count) ? count : Number.NaN;
}

/** Bytes of one element. */
export function elementBytes(dtype: Dtype): number {
  return dtypes[dtype].bytes;
}

/**
 * Makes a tensor, without a copy.
 *
 * @param dtype the element type; `data` must be its typed array
 * @param shape up to 8 dimensions, whose product is the number of elements
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when dtype, shape and data do not agree
 */
export function tensor(dtype: Dtype, shape: readonly number[], data: TensorData): Tensor {
  const info = Object.hasOwn(dtypes, dtype) ? dtypes[dtype] : undefined;
  if (info === undefined) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `dtype must be one of ${DTYPES.join(', ')}, not ${String(dtype)}`);
  }
  if (!ArrayBuffer.isView(data) || !info.is(data)) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `the data of a ${dtype} tensor has another element type`);
  }
  if (!Array.isArray(shape)) throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'the shape of a tensor is an array');
  if (elementCount(shape) !== data.length) {
    throw new RdmaError(
      'RDMA_ERR_INVALID_ARGUMENT',
      `a tensor of shape [${shape.join(', ')}] does not have ${data.length} elements`,
    );
  }
  return { dtype, shape, data };
}

/** A view of `buffer` as a tensor's data. The offset must be a multiple of the element's size. */
export function viewTensor(dtype: Dtype, shape: readonly number[], buffer: ArrayBufferLike, offset: number): Tensor {
  return { dtype, shape, data: dtypes[dtype].view(buffer, offset, elementCount(shape)) };
}

/** A copy that owns its memory. */
export function copyTensor(source: Tensor): Tensor {
  return { dtype: source.dtype, shape: source.shape, data: source.data.slice() };
}
