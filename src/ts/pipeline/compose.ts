// The composition of a message for one device: its body in the lane, or in memory of that device.
//
// Invariant: nothing is sent here. A body in a block has one reference, which belongs to the caller.
import type { Block, MemoryPool } from '../ring/index.js';
import { bodyBytes, type PartToSend, tableBytes, writeBody } from './body.js';
import { type Envelope, headBytes } from './envelope.js';
import type { Scratch } from './scratch.js';
import { viewOf } from './view.js';

/** In place of a length: there is no memory for it before something else was acknowledged. */
export const NO_MEMORY = -1;

/**
 * Writes a body, and says of it in the envelope what there is to say; the head itself is the caller's to write.
 *
 * @param into where a message that goes through the lane is built
 * @param inlineBytes the longest such message
 * @returns bytes that go through the lane; {@link NO_MEMORY}. The block of the body, if it has one, is `envelope.block`
 * @throws RdmaError as MemoryPool.allocate; TypeError when the memory of a part was taken away
 */
export function compose(
  into: Scratch,
  inlineBytes: number,
  pool: Pick<MemoryPool, 'allocate'>,
  envelope: Envelope,
  trace: Uint8Array,
  parts: readonly PartToSend[],
  meta: Uint8Array,
): number {
  const head = headBytes(envelope.runs.length);
  const body = bodyBytes(trace.length, parts, meta.length);
  envelope.partCount = parts.length;
  envelope.traceBytes = trace.length;
  envelope.tableBytes = tableBytes(parts);
  envelope.metaBytes = meta.length;
  envelope.bodyBytes = body;
  envelope.block = undefined;
  if (head + body <= inlineBytes) {
    writeBody(into.bytes, into.view, head, trace, parts, meta);
    return head + body;
  }
  const block: Block | undefined = pool.allocate(body);
  if (block === undefined) return NO_MEMORY;
  const { bytes } = block;
  try {
    writeBody(bytes, viewOf(bytes), 0, trace, parts, meta);
  } catch (error) {
    block.release();
    throw error;
  }
  envelope.block = block;
  return head;
}

/** The same parts, to be copied into the body: another device does not know the memory that they lie in. */
export function copiedParts(parts: readonly PartToSend[]): readonly PartToSend[] {
  return parts.map((part) => (part.reference === undefined ? part : { ...part, reference: undefined }));
}
