// Events on their way to the user's callback.
//
// Invariant: what the callback throws, or its promise rejects with, harms no request and ends no process: the first
// such error of a pipeline becomes a warning of Node.js, as whoever listens only watches.
import { inspect } from 'node:util';

/**
 * Makes a function that tells the callback.
 *
 * @param name of the callback, for the warning
 * @see the documentation of Node.js, process.emitWarning
 */
export function tellerOf<E>(name: string, callback: (event: E) => unknown): (event: E) => void {
  let warned = false;
  const onError = (error: unknown) => {
    if (warned) return;
    warned = true;
    const words = `${name} failed, and the event is lost to it: ${inspect(error)}; further failures are not reported`;
    process.emitWarning(words, { code: 'ONEPIECE_CALLBACK' });
  };
  return (event) => {
    try {
      const answer = callback(event);
      if (answer instanceof Promise) answer.catch(onError);
    } catch (error) {
      onError(error);
    }
  };
}
