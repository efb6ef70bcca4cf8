// The memory of this machine that stages may use, and the check that a node offers no more.
//
// Invariant: a node never advertises more than there is, as the kernel would kill places in the excess without warning.
import os from 'node:os';
import { RdmaError } from '../core/errors.js';
import { bytesInWords } from '../core/memory-room.js';

/** Of the machine, or of the control group of this process: whichever is less. In bytes. */
export function machineMemoryBytes(): number {
  const limit = process.constrainedMemory?.() ?? 0; // 0 or more than there is: no limit
  const total = os.totalmem();
  return limit > 0 && limit < total ? limit : total;
}

/**
 * Checks what a node says that it has.
 *
 * @param memoryBytes undefined: it says nothing
 * @param hasBytes what this machine has; for tests
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with both numbers
 */
export function checkClaims(memoryBytes: number | undefined, hasBytes = machineMemoryBytes()): void {
  if (memoryBytes === undefined || !(memoryBytes > hasBytes)) return;
  const [claimed, has] = [memoryBytes, hasBytes].map(bytesInWords);
  const text = `the node shall offer ${claimed} of memory, and this machine has ${has}`;
  throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', text, { remedy: 'say how much of it stages may have, or nothing' });
}
