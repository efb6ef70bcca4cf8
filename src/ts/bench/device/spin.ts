// Waiting busily, and giving up in the end.
//
// Invariant: a wait that sees nothing for five seconds ends with an error; a short wait reads no clock.
import { setImmediate as turn } from 'node:timers/promises';
import { RdmaError } from '../../core/errors.js';
import type { Halt } from '../kit/loop.js';

export const SPINS_BEFORE_CLOCK = 1 << 16;
const STALL_MS = 5000;

/** When the wait that is under way looked at the clock first. */
let since = 0;

/**
 * To be called after every SPINS_BEFORE_CLOCK looks that find nothing.
 *
 * @param isFirst of this wait
 * @throws RdmaError RDMA_ERR_TIMEOUT
 */
export function checkStall(isFirst: boolean): void {
  const now = performance.now();
  if (isFirst) since = now;
  if (now - since > STALL_MS) {
    throw new RdmaError('RDMA_ERR_TIMEOUT', `nothing has come from the other side for ${STALL_MS / 1000} s`);
  }
}

/** @throws RdmaError RDMA_ERR_TIMEOUT */
export function spinUntil(condition: () => boolean): void {
  for (let spins = 1; !condition(); spins++) {
    if (spins % SPINS_BEFORE_CLOCK === 0) checkStall(spins === SPINS_BEFORE_CLOCK);
  }
}

/** What ends a measurement from outside. */
export interface Ending {
  halt: Halt;
  signal: AbortSignal | undefined;
}

/** A turn of the event loop between two parts of a measurement. @throws RdmaError RDMA_ERR_ABORTED; halt.failure */
export async function pause({ halt, signal }: Ending): Promise<void> {
  await turn();
  throwIfEnded({ halt, signal });
}

export function throwIfEnded({ halt, signal }: Ending): void {
  if (signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the measurement was stopped');
  if (halt.failure !== undefined) throw halt.failure;
}
