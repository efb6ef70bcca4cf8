// Small requests of one side alone: WRITEs in batches, and READs one by one.
//
// Invariant: a batch is posted with one doorbell; only its last request is signaled, and its completion covers the
// others; the next batch is posted once that was polled. Nothing here allocates within a block.
import { SendFlags } from '../../verbs/index.js';
import { BATCH, type Side, SMALL_BYTES } from './side.js';
import { type Ending, pause, spinUntil } from './spin.js';

/** Rounds between two turns of the event loop. */
const BLOCK = 10_000;

/** @returns microseconds of each batch of 64 */
export async function measureBatches(side: Side, batches: number, ending: Ending): Promise<Float64Array> {
  const { qp, small, remote, out, into } = side;
  for (let i = 0; i < BATCH; i++) {
    const flags = i === BATCH - 1 ? SendFlags.SIGNALED : 0;
    const from = small.address + out;
    qp.sends.write(i, i, flags, remote.address + into, remote.rkey, from, SMALL_BYTES, small.lkey);
  }
  return await rounds(side, BATCH, batches, ending);
}

/** @returns microseconds of each READ, from its post to its polled completion */
export async function measureReads(side: Side, reads: number, ending: Ending): Promise<Float64Array> {
  const { qp, small, remote, out, into } = side;
  const to = small.address + out;
  qp.sends.read(0, 0, SendFlags.SIGNALED, remote.address + into, remote.rkey, to, SMALL_BYTES, small.lkey);
  return await rounds(side, 1, reads, ending);
}

async function rounds(side: Side, requests: number, count: number, ending: Ending): Promise<Float64Array> {
  const samples = new Float64Array(count);
  // The code that is measured is the compiled one.
  const warmUp = new Float64Array(Math.min(count, BLOCK));
  block(side, requests, warmUp, 0, warmUp.length);
  for (let done = 0; done < count; done += BLOCK) {
    await pause(ending);
    block(side, requests, samples, done, Math.min(count, done + BLOCK));
  }
  return samples;
}

function block(side: Side, requests: number, samples: Float64Array, from: number, to: number): void {
  const { qp } = side;
  const completed = () => side.takeSend();
  let begin = performance.now();
  for (let i = from; i < to; i++) {
    qp.postSend(requests);
    if (!side.takeSend()) spinUntil(completed);
    const now = performance.now();
    samples[i] = (now - begin) * 1000;
    begin = now;
  }
}
