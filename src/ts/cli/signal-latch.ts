// A command that runs until a signal: the first lets it end in good order, the second ends the process at once.
//
// Invariant: the exit code is 128 and the number of the first signal.
import { SIGNALS } from './exit.js';

export class SignalLatch {
  /** 128 and the number of the first signal; undefined when release() came first. */
  readonly first: Promise<number | undefined>;
  /** Lets who waits go on without a signal. */
  readonly release: () => void;
  private readonly handlers: [string, () => void][];

  constructor() {
    let resolve: (code: number | undefined) => void = () => {};
    let hasOne = false;
    this.first = new Promise((done) => {
      resolve = done;
    });
    this.release = () => resolve(undefined);
    this.handlers = Object.entries(SIGNALS).map(([name, number]) => {
      const handler = () => {
        if (hasOne) process.exit(128 + number);
        hasOne = true;
        resolve(128 + number);
      };
      process.on(name, handler);
      return [name, handler];
    });
  }

  /** Listens no longer. */
  close(): void {
    for (const [name, handler] of this.handlers) process.off(name, handler);
  }
}
