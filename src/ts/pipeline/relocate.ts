// The rebuilding of a message for another device.
//
// Invariant: the copy has the same content as the original, and refers to nothing of the first device. It is made while
// custody still holds the memory that the original refers to.
import type { Block, MemoryPool, MemoryReference } from '../ring/index.js';
import { RdmaError } from '../core/errors.js';
import { encodePart, metaOf, type PartToSend, readTable, traceOf } from './body.js';
import { compose } from './compose.js';
import { headBytes, Kind, kindOf, readEnvelope, writeEnvelope } from './envelope.js';
import { Scratch } from './scratch.js';
import { viewTensor } from './tensor.js';
import { viewOf } from './view.js';

/** A message for another device. */
export interface Relocated {
  readonly bytes: Uint8Array;
  /** Where its body lies, with one reference for whoever sends it. */
  readonly block: Block | undefined;
}

/**
 * Rebuilds a message.
 *
 * @param message as it was sent, at most `inlineBytes`
 * @param from memory that it refers to
 * @param to memory that it refers to then, also beyond the limit of that pool: what is sent already cannot wait for
 *   room
 * @param stages how many stages the workflow has
 * @throws RdmaError ENOMEM; RDMA_ERR_INTERNAL when what it refers to is not there any more
 */
export function relocate(
  message: Uint8Array,
  from: MemoryPool,
  to: MemoryPool,
  inlineBytes: number,
  stages: number,
): Relocated {
  const view = viewOf(message);
  if (kindOf(message, view) !== Kind.INPUT) return { bytes: message, block: undefined };
  const envelope = readEnvelope(message, view, stages);
  const begin = envelope.block === undefined ? headBytes(stages) : 0;
  const body = envelope.block === undefined ? message : bytesOf(envelope.block, from);
  const entries = readTable(envelope, body, viewOf(body), begin);
  if (envelope.block === undefined && entries.every(({ reference }) => reference === undefined)) {
    return { bytes: message, block: undefined };
  }
  const parts = entries.map(({ name, dtype, shape, bytes: length, offset, reference }): PartToSend => {
    const bytes =
      reference === undefined ? body.subarray(begin + offset, begin + offset + length) : bytesOf(reference, from);
    return encodePart(name, viewTensor(dtype, shape, bytes.buffer, bytes.byteOffset));
  });
  const trace = traceOf(envelope, body, begin);
  const meta = metaOf(envelope, body, begin);
  const scratch = new Scratch(inlineBytes);
  const always = { allocate: (bytes: number) => to.allocateBeyond(bytes) };
  const length = compose(scratch, inlineBytes, always, envelope, trace, parts, meta);
  const block = envelope.block as Block | undefined;
  writeEnvelope(scratch.view, envelope);
  return { bytes: scratch.bytes.slice(0, length), block };
}

function bytesOf(reference: MemoryReference, pool: MemoryPool): Uint8Array {
  const bytes = pool.bytesOf(reference);
  if (bytes === undefined) throw new RdmaError('RDMA_ERR_INTERNAL', 'memory of a message that is kept is not there');
  return bytes;
}
