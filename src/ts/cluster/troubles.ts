// Failures of a component of a cluster that keeps running.
//
// Invariant: the same trouble with the same subject is reported once, until a different one comes.
import { asRdmaError, type RdmaError } from '../core/errors.js';

export class Troubles {
  private readonly last = new Map<string, string>(); // by what: its words

  /** @param tell what is done with a trouble that is new */
  constructor(private readonly tell: (error: RdmaError) => void) {}

  /** Something went wrong with a record, or whatever has this name. */
  add(what: string, cause: unknown): void {
    const error = asRdmaError(cause, `${what}: ${String(cause)}`);
    if (this.last.get(what) === error.message) return;
    this.last.set(what, error.message);
    this.tell(error);
  }
}
