// Arbitrary tensors for property tests. Not a test.
import fc from 'fast-check';
import { DTYPES, type Dtype, elementBytes, elementCount, type Tensor } from '../../src/ts/pipeline/index.js';
import { bytesOf, viewTensor } from '../../src/ts/pipeline/tensor.js';

/** Tensors of these types with any bits in them. */
export function tensors(dtypes: readonly Dtype[] = DTYPES): fc.Arbitrary<Tensor> {
  const shapes = fc.array(fc.nat({ max: 4 }), { maxLength: 4 });
  return fc.tuple(fc.constantFrom(...dtypes), shapes).chain(([dtype, shape]) => {
    const bytes = elementCount(shape) * elementBytes(dtype);
    return fc
      .uint8Array({ minLength: bytes, maxLength: bytes })
      .map((data) => viewTensor(dtype, shape, new Uint8Array(data).buffer, 0));
  });
}

/** What is compared: type, shape and bits. */
export const plain = (tensor: Tensor) => ({
  dtype: tensor.dtype,
  shape: [...tensor.shape],
  kind: tensor.data.constructor.name,
  bytes: Buffer.from(bytesOf(tensor)).toString('hex'),
});

/** Bytes at an odd place of a larger buffer, where no view of wider elements may begin. */
export function unaligned(bytes: Uint8Array): Uint8Array {
  const room = new Uint8Array(bytes.byteLength + 1);
  room.set(bytes, 1);
  return room.subarray(1);
}
