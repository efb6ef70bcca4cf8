// What a failed call of soft0 asks for, by its errno.
//
// Invariant: only for the software device: the same numbers mean other things on a card. A limit is named with its
// value where that can still be read.
import { errnoError, type RdmaError } from '../core/errors.js';
import { currentLimit } from './limits.js';

/** Its name: those of all other devices are the kernel's. */
const SOFT_DEVICE = 'soft0';

/** What soft0 can join, for whoever meets its bounds. */
const JOINS = 'soft0 joins processes of one user in one PID namespace of one machine';

const limit = (name: string, how: string) => () => {
  const value = currentLimit(name);
  return value === undefined ? how : `${how}, which is ${value}`;
};

const anyCall: Readonly<Record<string, () => string>> = {
  EMFILE: limit('Max open files', 'too many files are open: close some, or raise the limit (ulimit -n)'),
  ENFILE: () => 'the machine has too many files open: raise fs.file-max',
  ENOMEM: limit('Max address space', 'the machine has no memory left, or the limit of addresses is met (ulimit -v)'),
  EFBIG: limit('Max file size', 'its shared memory counts as a file: raise the limit of their size (ulimit -f)'),
  EAGAIN: limit(
    'Max processes',
    'no thread could be started: raise the limit (ulimit -u, or pids.max of the container)',
  ),
  EPERM: () => 'memfd_create(2) is refused: allow it in the seccomp profile of the container',
  ENOSYS: () => 'memfd_create(2) is refused, by seccomp or an old kernel: allow it, or take a newer kernel',
};

const PIDFD =
  'pidfd_open(2) is refused: allow it in the seccomp profile (that of Docker before 20.10 does not), or take Linux 5.3 or newer';

const connecting: Readonly<Record<string, () => string>> = {
  ...anyCall,
  EPERM: () => PIDFD,
  ENOSYS: () => PIDFD,
  EACCES: () => `${JOINS}: the peer is of another user, or in another container, or hidden in /proc from this user`,
  EHOSTUNREACH: () => `${JOINS}: the peer has ended, or is in another container or on another machine`,
  EPROTONOSUPPORT: () => 'the peer has another version of this package: take the same one on both sides',
};

/**
 * The remedy for a call that has failed on soft0.
 *
 * @param code the errno's name
 * @param syscall the verbs call; `ibv_modify_qp` is the one that connects
 * @returns undefined when the errno is about the arguments of the call
 */
export function softRemedy(code: string, syscall: string): string | undefined {
  return (syscall === 'ibv_modify_qp' ? connecting : anyCall)[code]?.();
}

/**
 * Makes the error of a call that has failed on a device.
 *
 * @param device its name
 * @param negativeErrno as native code returns it
 * @param remedy for what soft0 has no better one for; default that of the errno
 * @returns an RdmaError; it is returned, not thrown
 */
export function deviceError(device: string, negativeErrno: number, syscall: string, remedy?: string): RdmaError {
  const error = errnoError(negativeErrno, syscall, remedy);
  const own = device === SOFT_DEVICE ? softRemedy(error.code, syscall) : undefined;
  return own === undefined ? error : errnoError(negativeErrno, syscall, own);
}
