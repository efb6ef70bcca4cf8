// A failure of the runner itself, as opposed to one of the command it runs.
// Invariant: every failure carries the exit code it leads to and, where one exists, the remedy in its text.

export const EXIT = Object.freeze({ usage: 2, cannotRun: 3, timeout: 124, bootFailed: 125, brokenPipe: 141 });

export class Failure extends Error {
  /** @param {number} exitCode @param {string} message */
  constructor(exitCode, message) {
    super(message);
    this.name = 'Failure';
    this.exitCode = exitCode;
  }
}

/** A signal asked the runner to stop; it dies of that signal once everything is cleaned up. */
export class Interrupted extends Error {
  /** @param {NodeJS.Signals} signal */
  constructor(signal) {
    super(`interrupted by ${signal}`);
    this.name = 'Interrupted';
    this.signal = signal;
  }
}

/** @param {string} message */
export const usageError = (message) => new Failure(EXIT.usage, `${message} (see --help)`);

/** @param {string} message */
export const cannotRun = (message) => new Failure(EXIT.cannotRun, message);
