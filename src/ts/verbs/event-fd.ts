// An event descriptor: how another process wakes this one, and how this one wakes the other.
//
// Invariant: it is watched as a completion channel is: the callback runs after the count was taken, so that no signal
// is left without a call that follows it.
import { errnoError } from '../core/errors.js';
import { native } from '../addon/native.js';
import { Resource } from './resource.js';

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
