// The time for which a place that has an address has been unreachable.
//
// Invariant: the time runs only while there is an address, and begins again with each new one: while a place is
// starting, no sender gives up.
import { RdmaError } from '../core/errors.js';
import { addressWords, type PlaceAddress } from './place-address.js';

export class AwayTime {
  private readonly now: () => number;
  private readonly limitMs: number;
  private sinceMs: number | undefined;
  private where = '';

  /**
   * @param now in ms, by a clock that never goes back
   * @param limitMs how long an address may not answer
   */
  constructor(now: () => number, limitMs: number) {
    this.now = now;
    this.limitMs = limitMs;
  }

  /**
   * Passes on what is known of the address, before an attempt to connect there.
   *
   * @param resolve the address; a promise of it while there is none; what it throws counts as an address without an
   *   answer
   * @throws RdmaError RDMA_ERR_REFUSED, which ends the attempts, when that address has not answered for too long
   */
  find(resolve: () => PlaceAddress | Promise<PlaceAddress>): PlaceAddress | Promise<PlaceAddress> {
    let address: PlaceAddress | Promise<PlaceAddress>;
    try {
      address = resolve();
    } catch (error) {
      this.attempt('an address that is not known');
      throw error;
    }
    if (address instanceof Promise) this.reached();
    else this.attempt(addressWords(address));
    return address;
  }

  private attempt(where: string): void {
    const nowMs = this.now();
    if (this.sinceMs === undefined || where !== this.where) {
      this.sinceMs = nowMs;
      this.where = where;
    } else if (nowMs - this.sinceMs > this.limitMs) {
      const remedy = 'see whether that process is stopped, or computes without a pause';
      throw new RdmaError('RDMA_ERR_REFUSED', `${where} has not answered for ${this.limitMs} ms`, { remedy });
    }
  }

  /** There is a connection, or nothing to connect to. */
  reached(): void {
    this.sinceMs = undefined;
  }
}
