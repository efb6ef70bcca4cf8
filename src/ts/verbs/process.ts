// What the kernel does for processes and says of them: a child ends with its parent, and who is at the other end.
//
// Invariant: the kernel does it, so nothing depends on what the other process says or how it ends.
import { errnoError } from '../core/errors.js';
import { native } from '../addon/native.js';

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

/**
 * Says whose process is at the other end of a Unix socket: who connected it, or who listens there.
 *
 * @param descriptor of a connected Unix socket
 * @returns the effective user id that the process had when it connected or began to listen, 0 to 2^32 - 1
 * @throws RdmaError EBADF, ENOTSOCK; ENOTCONN when it is no Unix socket, or is not connected
 * @see unix(7), SO_PEERCRED
 */
export function peerUser(descriptor: number): number {
  const uid = native().peerUser(descriptor);
  if (uid < 0) throw errnoError(uid, 'getsockopt');
  return uid;
}
