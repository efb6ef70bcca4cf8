// How long the event loop of the initiator is blocked while a WRITE of 1 GiB is under way.
//
// Invariant: the loop turns all the time, so a gap between two turns is time in which nothing else could have run; the
// post and the completion are within that time. The same is measured with nothing under way: the machine alone.
import { SendFlags, WorkOpcode } from '../../verbs/index.js';
import { digestOf, fillPattern } from './copies.js';
import type { RemoteMemory, Side } from './side.js';
import { type Ending, pause } from './spin.js';

export const HUGE_BYTES = 2 ** 30;
/** Pieces of the message; all are the same local memory. */
const PIECES = 4;

export interface LoopGaps {
  /** The longest gap of each WRITE, in milliseconds, ascending. */
  longestMs: Float64Array;
  /** The longest of a stretch as long with nothing under way: what the machine alone does. */
  idleMs: Float64Array;
  /** How long each WRITE took. */
  writeMs: Float64Array;
  /** The longest call of the library in each WRITE, post or poll, ascending: the part of a gap that is ours. */
  callMs: Float64Array;
  digest: string;
}

/** @param remote memory of the other side, at least 1 GiB */
export async function measureLoopGaps(
  side: Side,
  remote: RemoteMemory,
  rounds: number,
  ending: Ending,
): Promise<LoopGaps> {
  const piece = side.register(HUGE_BYTES / PIECES);
  try {
    const bytes = new Uint8Array(piece.buffer);
    fillPattern(bytes, 1);
    const { qp } = side;
    const pieces = Array.from({ length: PIECES }, () => piece.piece(0, bytes.length));
    const longestMs = new Float64Array(rounds);
    const idleMs = new Float64Array(rounds);
    const writeMs = new Float64Array(rounds);
    const callMs = new Float64Array(rounds);
    for (let i = 0; i < rounds; i++) {
      qp.sends.set(0, WorkOpcode.WRITE, 0, SendFlags.SIGNALED, 0, remote.address, remote.rkey, pieces);
      const begin = performance.now();
      [longestMs[i], callMs[i]] = await longestGap(
        ending,
        () => qp.postSend(1),
        () => side.takeSend(),
      );
      writeMs[i] = performance.now() - begin;
      const end = performance.now() + writeMs[i]!;
      [idleMs[i]] = await longestGap(
        ending,
        () => {},
        () => performance.now() > end,
      );
    }
    const all = Array.from({ length: PIECES }, () => bytes);
    const digest = digestOf(...all);
    return {
      longestMs: longestMs.sort(),
      idleMs: idleMs.sort(),
      writeMs: writeMs.sort(),
      callMs: callMs.sort(),
      digest,
    };
  } finally {
    piece.close();
  }
}

// Answers the longest gap between two turns, and the longest call of `start` or `isDone`.
async function longestGap(ending: Ending, start: () => void, isDone: () => boolean): Promise<[number, number]> {
  await pause(ending);
  let longest = 0;
  let longestCall = 0;
  let last = performance.now();
  start();
  let called = last;
  for (;;) {
    const done = isDone();
    const now = performance.now();
    longestCall = Math.max(longestCall, now - called);
    longest = Math.max(longest, now - last);
    last = now;
    if (done) return [longest, longestCall];
    await pause(ending);
    called = performance.now();
  }
}
