// What benchmarks measure beside the library. @internal
//
// Invariant: an event descriptor is watched as a completion channel is, so that a comparison of both is one of what lies
// below; nothing but benchmarks imports this.
import { errnoError } from '../core/errors.js';
import { native } from './native.js';
import type { QueuePair } from './queue-pair.js';
import { Resource } from './resource.js';

/**
 * Copies with one plain memcpy what a WRITE or READ would copy, between the very same mappings, after its checks.
 *
 * @param index of a request in `qp.sends` with one piece of memory; nothing may be outstanding in the queue pair
 * @returns nanoseconds that the memcpy took
 * @throws RdmaError ENOTSUP where no CPU copies; EACCES for what the WRITE or READ would not be allowed; EBUSY; EINVAL
 */
export function timeCopy(qp: QueuePair, index: number): number {
  const ns = native().timeCopy(qp.handle, index);
  if (ns < 0) throw errnoError(ns, 'memcpy');
  return ns;
}

/** An eventfd(2). */
export class EventFd extends Resource {
  /** Its number in this process. */
  readonly fd: number;

  private constructor(made: { handle: number; fd: number }) {
    super(made.handle, 'event descriptor', 'eventfd', []);
    this.fd = made.fd;
  }

  /**
   * @param inherited the number under which the parent process gave it; without it a new one is made
   * @throws RdmaError with the errno of eventfd(2); EBADF, EINVAL for a number that is no eventfd
   */
  static open(inherited = 0): EventFd {
    const made = native().createEventFd(inherited);
    if (typeof made === 'number') throw errnoError(made, 'eventfd');
    return new EventFd(made);
  }

  /** Calls back whenever it was signaled, from the event loop; the process stays alive for it. */
  watch(callback: () => void): void {
    const rc = native().watchEventFd(this.handle, callback);
    if (rc !== 0) throw errnoError(rc, 'uv_poll_init');
  }

  /** Adds one to its count. */
  signal(): void {
    const rc = native().signalEventFd(this.rawHandle);
    if (rc !== 0) throw errnoError(rc, 'write');
  }
}
