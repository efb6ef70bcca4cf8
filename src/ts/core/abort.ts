// Waiting for the abort of a signal.
//
// Invariant: however many wait, a signal has at most one listener of this package, and none when nobody waits: Node.js
// warns of a leak at the eleventh, and one signal may stand for any number of requests.

/** By signal: those who wait, in the order in which they came. */
const waiting = new WeakMap<AbortSignal, Set<{ call: () => void }>>();

function onEvent(this: AbortSignal): void {
  const waiters = waiting.get(this);
  waiting.delete(this);
  this.removeEventListener('abort', onEvent);
  if (waiters === undefined) return;
  // One that another one takes back in its call is not called any more.
  for (const waiter of waiters) {
    waiters.delete(waiter);
    waiter.call();
  }
}

/**
 * As {@link onAbort}; for a signal that is aborted already it calls at once, and without a signal never.
 *
 * @param call must not throw
 */
export function followAbort(signal: AbortSignal | undefined, call: () => void): () => void {
  if (signal?.aborted === false) return onAbort(signal, call);
  if (signal !== undefined) call();
  return () => {};
}

/**
 * Calls once when the signal is aborted; not for one that is aborted already.
 *
 * @param call must not throw: those behind it would not be called
 * @returns takes that back; may be called at any time, and more than once
 * @see the DOM Standard, "signal abort"
 */
export function onAbort(signal: AbortSignal, call: () => void): () => void {
  let waiters = waiting.get(signal);
  if (waiters === undefined) {
    waiters = new Set();
    waiting.set(signal, waiters);
    signal.addEventListener('abort', onEvent);
  }
  const waiter = { call };
  waiters.add(waiter);
  const among = waiters;
  return () => {
    if (!among.delete(waiter) || among.size > 0 || waiting.get(signal) !== among) return;
    waiting.delete(signal);
    signal.removeEventListener('abort', onEvent);
  };
}
