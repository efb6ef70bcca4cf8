// Tensors over bytes that came from elsewhere.
//
// Invariant: a tensor that is made here has exactly the bytes of its shape, and its data begins where its element type
// may; bytes are copied only when they do not.
import { RdmaError } from '../core/errors.js';
import { DTYPES, type Dtype, elementBytes, elementCount, type Tensor } from '../pipeline/index.js';
import { viewTensor } from '../pipeline/tensor.js';

/** A refusal of what a client sent. */
export function badBody(text: string, remedy?: string, cause?: unknown): RdmaError {
  return new RdmaError('RDMA_ERR_INVALID_ARGUMENT', text, { remedy, ...(cause === undefined ? {} : { cause }) });
}

/** Tells whether a value names an element type. */
export function isDtype(value: unknown): value is Dtype {
  return (DTYPES as readonly unknown[]).includes(value);
}

/**
 * Makes a tensor of bytes, little-endian.
 *
 * @param what names it in errors
 * @param bytes whole; they are not copied unless they begin at an odd place
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when shape and bytes do not agree
 */
export function tensorOver(what: string, dtype: Dtype, shape: readonly number[], bytes: Uint8Array): Tensor {
  const count = elementCount(shape);
  const size = elementBytes(dtype);
  if (Number.isNaN(count)) {
    throw badBody(`the shape of ${what} is none`, 'give at most 8 dimensions, each an integer from 0');
  }
  if (count * size !== bytes.byteLength) {
    const wanted = `${count * size} bytes of ${dtype} [${shape.join(', ')}]`;
    throw badBody(`${what} has ${bytes.byteLength} bytes, not the ${wanted}`);
  }
  const isAligned = bytes.byteOffset % size === 0;
  const { buffer, byteOffset } = isAligned ? bytes : new Uint8Array(bytes);
  return viewTensor(dtype, shape, buffer, byteOffset);
}
