// The writer of a gateway's load: about once a second, into the store.
//
// Invariant: it writes one record, one write at a time, and only when the record would change. An unreachable store
// costs reports, never requests.
import { isDeepStrictEqual } from 'node:util';
import { asRdmaError, type RdmaError } from '../core/errors.js';
import type { ControlPort, ControlStore, Revision } from '../control/index.js';
import { asJson } from './cluster-records.js';
import type { GatewayLoad } from './gateway-load.js';

const EVERY_MS = 1000;

export interface LoadReporterOptions {
  readonly key: string;
  readonly port: ControlPort;
  /** The load now; undefined: it must not be reported, as after the lease was lost. */
  readonly read: () => GatewayLoad | undefined;
}

/** Reports until it is closed. */
export class LoadReporter {
  /** Why the last report was not written; undefined while all goes well. */
  failure: RdmaError | undefined;
  private written: GatewayLoad | undefined;
  private revision: Revision = 0;
  private stopTimer: (() => void) | undefined; // undefined: a report is under way
  private work: Promise<void> = Promise.resolve();
  private isHurried = false; // since the last report that came in its own time
  private isClosed = false;

  constructor(
    private readonly store: ControlStore,
    private readonly options: LoadReporterOptions,
  ) {
    this.next(0);
  }

  private next(afterMs: number): void {
    if (this.isClosed) return;
    const { timers } = this.options.port;
    this.stopTimer = timers.after(
      afterMs,
      () => {
        this.stopTimer = undefined;
        if (afterMs > 0) this.isHurried = false;
        const { isHurried } = this;
        this.work = this.report().finally(() => this.next(this.isHurried && !isHurried ? 0 : EVERY_MS));
      },
      true,
    );
  }

  /** Somebody waits for what it has to say: it reports now, and not only in a second; at most once in that second. */
  hurry(): void {
    if (this.isHurried) return;
    this.isHurried = true;
    if (this.stopTimer === undefined) return; // it reports once more behind the report that is under way
    this.stopTimer();
    this.next(0);
  }

  private async report(): Promise<void> {
    try {
      const load = this.options.read();
      if (load === undefined || isDeepStrictEqual(load, this.written)) return;
      this.written = undefined; // until it is known what the store has
      this.revision = await this.store.put(this.options.key, asJson(load));
      this.written = load;
      this.failure = undefined;
    } catch (error) {
      this.failure = asRdmaError(error);
    }
  }

  /** Ends, and removes what was reported. */
  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    this.stopTimer?.();
    await this.work;
    // Another gateway may have the number by now.
    if (this.revision > 0) await this.store.delete(this.options.key, this.revision).catch(() => {});
  }
}
