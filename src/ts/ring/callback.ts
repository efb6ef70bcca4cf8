// Calls into the user's code from the middle of the protocol.
//
// Invariant: an error that a user's callback throws cannot leave the protocol half done: it becomes an uncaught
// exception in the next turn.

/** Tells a callback, if there is one. */
export function notify<T>(callback: ((value: T) => void) | undefined, value: T): void {
  if (callback === undefined) return;
  try {
    callback(value);
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
  }
}
