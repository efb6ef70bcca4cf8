// Tensors that stay on a GPU, as parts of messages: a description in few bytes, under a name that the
// Python package gives to nothing else.
//
// Invariant: such a part is read as one only where another stage has sent it: what a client sends is never opened.
import { RdmaError } from '../../core/errors.js';
import { REQUEST } from '../../pipeline/spec.js';
import { DTYPES, type Dtype, elementBytes, elementCount, type Tensor, tensor } from '../../pipeline/tensor.js';

const PREFIX = '\u0000gpu/';
const MAX_DESCRIPTION_BYTES = 16 * 1024;

/** What a part says of a tensor on a GPU. */
export interface GpuPart {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Bytes of the tensor. */
  readonly bytes: number;
  /** Where it lies, in the words of the Python package. */
  readonly words: string;
}

/**
 * The part for a tensor on a GPU.
 *
 * @param number how many there are before it in the same message
 * @throws RdmaError RDMA_ERR_PROTOCOL for what Python cannot have made
 */
export function gpuPart(
  number: number,
  name: string,
  dtype: string,
  shape: readonly number[],
  words: string,
): [string, Tensor] {
  const isShape = Array.isArray(shape) && Number.isSafeInteger(elementCount(shape));
  const isKnown = (DTYPES as readonly string[]).includes(dtype);
  if (!isShape || !isKnown || typeof words !== 'string') {
    throw new RdmaError('RDMA_ERR_PROTOCOL', `the Python process returned ${name} on a GPU, described wrongly`);
  }
  const data = new Uint8Array(Buffer.from(JSON.stringify([name, dtype, shape, words])));
  if (data.length > MAX_DESCRIPTION_BYTES) {
    throw new RdmaError('RDMA_ERR_MESSAGE_TOO_LARGE', `output ${name.slice(0, 128)} takes too many bytes to describe`);
  }
  return [`${PREFIX}${number}`, tensor('u8', [data.length], data)];
}

/**
 * Reads such a part.
 *
 * @param stage that has sent it, or `request`
 * @returns undefined when it is an ordinary one
 */
export function readGpuPart(stage: string, name: string, { data }: Tensor): GpuPart | undefined {
  if (stage === REQUEST || !name.startsWith(PREFIX)) return undefined;
  const text = Buffer.from(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength).toString();
  const [own, dtype, shape, words] = JSON.parse(text) as [string, Dtype, number[], string];
  return { name: own, dtype, shape, bytes: elementBytes(dtype) * elementCount(shape), words };
}
