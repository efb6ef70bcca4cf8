// How a process of a pipeline is bound to the one that started it.
//
// Invariant: the kernel does the ending, so it works however the parent ends, SIGKILL included.
import { errnoError } from '../core/errors.js';
import { native } from './native.js';

/**
 * From now on the kernel ends this process (SIGKILL) when the thread that started it ends; at once if the parent has
 * ended already.
 *
 * @param parentPid the process id that the parent told its child
 * @see prctl(2), PR_SET_PDEATHSIG
 */
export function dieWithParent(parentPid: number): void {
  const rc = native().dieWithParent(parentPid);
  if (rc !== 0) throw errnoError(rc, 'prctl');
}
