// Requests and results as JSON: `{ meta, parts: { name: { dtype, shape, data } } }`, data in base64.
//
// Invariant: data is base64 as RFC 4648 section 4 writes it, padded and without anything else in it, or it is refused.
import { checkObject } from '../core/validate.js';
import type { Meta, Parts, PipelineOutput, Tensor } from '../pipeline/index.js';
import { bytesOf } from '../pipeline/tensor.js';
import { badBody, isDtype, tensorOver } from './tensor-bytes.js';

/** A tensor in JSON. */
export interface JsonTensor {
  dtype: string;
  shape: readonly number[];
  /** Base64 of its bytes, little-endian. */
  data: string;
}

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

/**
 * Reads a request.
 *
 * @param body parsed JSON
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the part
 */
export function decodeJsonRequest(body: unknown): { meta: Meta; parts: Parts } {
  const { meta = {}, parts = {}, ...others } = checkObject<{ meta?: unknown; parts?: unknown }>('the body', body);
  const [odd] = Object.keys(others);
  if (odd !== undefined) throw badBody(`the body has ${JSON.stringify(odd.slice(0, 64))}`, 'give meta and parts');
  const tensors: Record<string, Tensor> = Object.create(null);
  for (const [name, value] of Object.entries(checkObject('parts', parts))) {
    tensors[name] = decodeJsonTensor(`part ${name.slice(0, 128)}`, value);
  }
  return { meta: checkObject<Meta>('meta', meta), parts: tensors };
}

function decodeJsonTensor(what: string, value: unknown): Tensor {
  const { dtype, shape, data, ...others } = checkObject<Partial<Record<keyof JsonTensor, unknown>>>(what, value);
  if (Object.keys(others).length > 0) throw badBody(`${what} has more than dtype, shape and data`);
  if (!isDtype(dtype)) throw badBody(`the dtype of ${what} is unknown`);
  if (!Array.isArray(shape)) throw badBody(`the shape of ${what} is not an array`);
  if (typeof data !== 'string' || data.length % 4 !== 0 || !BASE64.test(data)) {
    throw badBody(`the data of ${what} is not base64`, 'give its bytes, little-endian, in base64 with its padding');
  }
  return tensorOver(what, dtype, shape, Buffer.from(data, 'base64'));
}

/** A tensor as JSON. */
export function encodeJsonTensor(source: Tensor): JsonTensor {
  const { buffer, byteOffset, byteLength } = bytesOf(source);
  return {
    dtype: source.dtype,
    shape: source.shape,
    data: Buffer.from(buffer, byteOffset, byteLength).toString('base64'),
  };
}

/** The outputs of a result as JSON. */
export function encodeJsonOutputs(outputs: readonly PipelineOutput[]) {
  return outputs.map(({ stage, instance, meta, parts, pieces }) => ({
    stage,
    instance,
    meta,
    parts: encodeJsonParts(parts),
    ...(pieces === undefined
      ? {}
      : { pieces: pieces.map((piece) => ({ ...piece, parts: encodeJsonParts(piece.parts) })) }),
  }));
}

function encodeJsonParts(parts: Parts): Record<string, JsonTensor> {
  return Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, encodeJsonTensor(part)]));
}
