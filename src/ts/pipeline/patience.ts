// The time that a place waits for an input that it cannot read, as its sender has gone.
//
// Invariant: a sender that is being replaced, or was, makes the input again, however long it takes to load and to
// compute, so the place waits for it. If the sender was there all the time and its input still cannot be read, the
// place does not wait.
import { addressWords, type PlaceAddress } from './place-address.js';

const LIMIT_US = 30_000_000;
const RETRY_MS = 20;
const LATER_MS = 1000;

/** Of one input. */
export class Patience {
  private readonly whereIs: (() => PlaceAddress | Promise<PlaceAddress>) | undefined;
  private readonly first: string | undefined;
  private readonly untilUs: number;

  /**
   * @param whereIs the sender: a promise while it has no process; what it throws says nothing; undefined for one that
   *   does not make anything again
   * @param sinceUs when the input came
   */
  constructor(whereIs: (() => PlaceAddress | Promise<PlaceAddress>) | undefined, sinceUs: number) {
    this.whereIs = whereIs;
    this.first = this.where();
    this.untilUs = sinceUs + LIMIT_US;
  }

  /** After how many ms to try again; undefined: it is no use. */
  next(nowUs: number): number | undefined {
    if (nowUs < this.untilUs) return RETRY_MS;
    return this.where() === this.first && this.first !== 'away' ? undefined : LATER_MS;
  }

  private where(): string | undefined {
    try {
      const address = this.whereIs?.();
      if (address === undefined) return undefined;
      return address instanceof Promise ? 'away' : addressWords(address);
    } catch {
      return undefined;
    }
  }
}
