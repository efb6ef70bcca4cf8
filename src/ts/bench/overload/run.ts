// A whole run: the capacity, our pipeline in every test, and its peers under the same load.
//
// Invariant: who is compared is measured in the same run, in turn for each factor; what could not be measured is said
// and never replaced by something else.
import { setMaxListeners } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Device } from '../../verbs/index.js';
import { Beside, type BesideOptions } from '../kit/beside.js';
import { round3 } from '../kit/statistics.js';
import type {
  BatchMeasured,
  CancelMeasured,
  HungMeasured,
  LoadMeasured,
  RetryMeasured,
  TenantsMeasured,
} from './measured.js';
import type { OverloadPeer } from './peer.js';
import {
  batchResult,
  cancelResult,
  failureOf,
  hungResult,
  loadResult,
  type OverloadDocument,
  type OverloadResult,
  overloadDocument,
  retryResult,
  tenantsResult,
} from './result.js';
import { checkOverloadSettings, type OverloadSettings, type OverloadTest } from './settings.js';
import { measureOverload } from './source.js';
import type { SourceRequest } from './source-main.js';
import type { Tally } from './tally.js';

export interface OverloadBenchOptions extends BesideOptions<OverloadPeer> {
  settings: OverloadSettings;
  /** What is being measured now. */
  onStep: (words: string) => void;
  signal: AbortSignal;
}

/** Requests that are sent later than that, in deadlines, say more about the machine than about the subject. */
const MOST_LAG = 0.05;

/**
 * Measures.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for the settings, or with the remedy for a peer that is missing;
 *   RDMA_ERR_NO_DEVICE: both before anything is measured; what our own pipeline fails with while its capacity is
 *   measured; RDMA_ERR_ABORTED
 */
export async function benchOverload(options: OverloadBenchOptions): Promise<OverloadDocument> {
  checkOverloadSettings(options.settings);
  Device.open(options.settings.device).close();
  setMaxListeners(0, options.signal); // each of many processes is awaited with it
  const folder = await mkdtemp(join(tmpdir(), 'onepiece-bench-'));
  try {
    const run = new Run(options, folder);
    await run.measureCapacity();
    const { tests, factors } = options.settings;
    if (tests.includes('load')) for (const factor of factors) await run.load(factor);
    for (const test of tests) if (test !== 'load') await run.own(test);
    return run.document;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

class Run {
  private readonly options: OverloadBenchOptions;
  private readonly folder: string;
  private readonly beside: Beside<OverloadPeer>;
  private readonly results: OverloadResult[] = [];
  private readonly failures: OverloadDocument['failures'] = [];
  private capacityPerSecond = 0;
  private measurements = 0;

  constructor(options: OverloadBenchOptions, folder: string) {
    this.options = options;
    this.folder = folder;
    this.beside = new Beside(options);
  }

  get document(): OverloadDocument {
    const { results, failures, capacityPerSecond } = this;
    const peers = this.beside.versions;
    return overloadDocument({ settings: this.options.settings, capacityPerSecond, results, peers, failures });
  }

  private ask<Answer>(step: string, request: Pick<SourceRequest, 'do' | 'factor'>): Promise<Answer> {
    const { settings, onStep, signal } = this.options;
    onStep(`overload: ${step}`);
    const { capacityPerSecond } = this;
    const known = capacityPerSecond > 0 ? { capacityPerSecond } : {};
    return measureOverload<Answer>({ ...request, ...known, settings }, signal);
  }

  private askPeer(peer: OverloadPeer, factor: number): Promise<LoadMeasured> {
    const { settings, onStep, signal } = this.options;
    onStep(`overload: ${factor}x, ${peer.name}`);
    // A folder for each measurement: sockets of the last one may still be there.
    const folder = join(this.folder, String(this.measurements++));
    return peer.load({ settings, capacityPerSecond: this.capacityPerSecond, factor, folder }, signal);
  }

  async measureCapacity(): Promise<void> {
    const { perSecond } = await this.ask<{ perSecond: number }>('capacity', { do: 'capacity' });
    this.capacityPerSecond = round3(perSecond);
  }

  /** Ours, then the peers. */
  async load(factor: number): Promise<void> {
    for (const peer of [null, ...this.beside.present]) {
      await this.attempt(peer?.name ?? null, 'overload', factor, () => this.loadOf(peer, factor));
    }
  }

  // What fails is said, and the others go on.
  private attempt(
    peer: string | null,
    test: OverloadResult['test'],
    factor: number | null,
    measure: () => Promise<void>,
  ): Promise<void> {
    const where = `${peer ?? 'onepiece'} has failed in ${test}${factor === null ? '' : ` at ${factor}x`}`;
    return this.beside.attempt(where, measure, (reason) => this.failures.push({ peer, test, factor, reason }));
  }

  private async loadOf(who: OverloadPeer | null, factor: number): Promise<void> {
    const ours = () => this.ask<LoadMeasured>(`${factor}x, onepiece`, { do: 'load', factor });
    const measured = await (who === null ? ours() : this.askPeer(who, factor));
    const peer = who?.name ?? null;
    const { settings } = this.options;
    this.results.push(loadResult(peer, factor, this.capacityPerSecond, settings.seconds, measured));
    this.noteFailures(peer, 'overload', factor, [measured.tally]);
    const { lagMs } = measured.tally;
    if (lagMs > settings.deadlineMs * MOST_LAG) {
      const late = `${Math.round(lagMs)} ms late (p99)`;
      this.beside.note(
        `${peer ?? 'onepiece'} at ${factor}x: requests were sent ${late}; the machine has too much to do`,
      );
    }
  }

  private noteFailures(
    peer: string | null,
    test: OverloadResult['test'],
    factor: number | null,
    tallies: readonly Tally[],
  ): void {
    const failure = failureOf(peer, test, factor, tallies);
    if (failure === undefined) return;
    this.failures.push(failure);
    this.beside.note(`${peer ?? 'onepiece'}${factor === null ? '' : ` at ${factor}x`}: ${failure.reason}`);
  }

  /** What only our pipeline is asked. */
  own(test: Exclude<OverloadTest, 'load'>): Promise<void> {
    return this.attempt(null, `overload-${test}`, null, () => this.measureOwn(test));
  }

  private async measureOwn(test: Exclude<OverloadTest, 'load'>): Promise<void> {
    const { seconds } = this.options.settings;
    const ask = <Answer>() => this.ask<Answer>(test, { do: test });
    if (test === 'retry') this.results.push(retryResult(await ask<RetryMeasured>()));
    else if (test === 'cancel') this.results.push(cancelResult(await ask<CancelMeasured>()));
    else if (test === 'batch') this.results.push(batchResult(await ask<BatchMeasured>()));
    else if (test === 'hung') this.results.push(hungResult(await ask<HungMeasured>()));
    else {
      const measured = await ask<TenantsMeasured>();
      this.results.push(tenantsResult(this.capacityPerSecond, seconds, measured));
      const { alone, beside, flood } = measured;
      this.noteFailures(null, 'overload-tenants', null, [alone, beside, flood]);
    }
  }
}
