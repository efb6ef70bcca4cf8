// A whole run: our rings and their peers, test after test and size after size.
//
// Invariant: all that are compared are measured in the same run, in turn for each size; what cannot be measured is
// reported, and never replaced by something else.
import { setMaxListeners } from 'node:events';
import { Beside, type BesideOptions } from '../kit/beside.js';
import type { OpenPeer, RingPeer } from './peer.js';
import { ringLatency } from './latency.js';
import type { RingResult } from './result.js';
import { checkRingSettings, type RingSettings } from './settings.js';
import { ringThroughput } from './throughput.js';
import { round3 } from '../kit/statistics.js';

export interface RingRun {
  results: RingResult[];
  /** Name and version of each peer that was measured. */
  peers: Record<string, string>;
  /** Peers that failed while they were measured. */
  failures: { peer: string; test: string; sizeBytes: number; reason: string }[];
}

export interface RingBenchOptions extends BesideOptions<RingPeer> {
  /** Each is measured for all its sizes; those that differ in `way` only share their peers. */
  plan: readonly RingSettings[];
  /** What is being measured now. */
  onStep: (words: string) => void;
  signal: AbortSignal;
}

/**
 * Measures.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for the plan, or with the remedy for a peer that is missing, before
 *   anything is measured; as ringLatency() and ringThroughput()
 */
export async function benchRings(options: RingBenchOptions): Promise<RingRun> {
  for (const settings of options.plan) checkRingSettings(settings);
  // Each of many processes is awaited with it.
  setMaxListeners(0, options.signal);
  const run = new Run(options);
  try {
    await run.openPeers();
    for (const group of grouped(options.plan)) await run.measureGroup(group);
    return run.outcome;
  } finally {
    await run.close();
  }
}

/** Settings that differ in `way` only, together: their peers are the same. */
function grouped(plan: readonly RingSettings[]): RingSettings[][] {
  const groups = new Map<string, RingSettings[]>();
  for (const settings of plan) {
    const key = JSON.stringify({ ...settings, way: null });
    groups.set(key, [...(groups.get(key) ?? []), settings]);
  }
  return [...groups.values()];
}

class Run {
  readonly outcome: RingRun = { results: [], peers: {}, failures: [] };
  private readonly options: RingBenchOptions;
  private readonly opened: { peer: RingPeer; open: OpenPeer }[] = [];
  private readonly beside: Beside<RingPeer>;

  constructor(options: RingBenchOptions) {
    this.options = options;
    this.beside = new Beside(options);
  }

  async openPeers(): Promise<void> {
    const { onStep, signal } = this.options;
    for (const peer of this.beside.present) {
      onStep(`starting ${peer.name}`);
      this.opened.push({ peer, open: await peer.open(signal) });
      this.outcome.peers[peer.name] = this.beside.versions[peer.name]!;
    }
  }

  async measureGroup(group: readonly RingSettings[]): Promise<void> {
    const { test, sizes } = group[0]!;
    for (const sizeBytes of sizes) {
      for (const settings of group) {
        await this.measure(settings.way, settings, sizeBytes, (count) =>
          test === 'ring-lat'
            ? ringLatency(settings, sizeBytes, this.options.signal)
            : ringThroughput(settings, sizeBytes, count, this.options.signal),
        );
      }
      for (const { peer, open } of this.opened) {
        if (sizeBytes > peer.maxBytes) {
          this.beside.note(`without ${peer.name} above ${peer.maxBytes} bytes`);
          continue;
        }
        const [settings] = group;
        const once = async (count: number) => {
          const result = await open.measure(settings!, sizeBytes, count, this.options.signal);
          if (result === undefined) this.beside.note(`without ${peer.name} in ${test}: it has no such test here`);
          return result;
        };
        await this.beside.attempt(
          `${peer.name} has failed in ${test} with ${sizeBytes} bytes`,
          () => this.measure(peer.name, settings!, sizeBytes, once),
          (reason) => this.outcome.failures.push({ peer: peer.name, test, sizeBytes, reason }),
        );
      }
    }
  }

  /** With one producer first where there are several, so that these can be held against it. */
  private async measure(
    who: string,
    { test, producers }: RingSettings,
    sizeBytes: number,
    once: (producers: number) => Promise<RingResult | undefined>,
  ): Promise<void> {
    const step = (count: number) => {
      const of = test === 'ring-fan-in' ? `, ${count} producer${count === 1 ? '' : 's'}` : '';
      this.options.onStep(`${test} ${sizeBytes} bytes${of}: ${who}`);
    };
    let alone: RingResult | undefined;
    if (test === 'ring-fan-in' && producers > 1) {
      step(1);
      alone = await once(1);
      if (alone === undefined) return;
      this.outcome.results.push(alone);
    }
    step(producers);
    const result = await once(producers);
    if (result === undefined) return;
    const toOneProducer =
      alone === undefined ? null : round3(result.messagesPerSecond! / Math.max(1, alone.messagesPerSecond!));
    this.outcome.results.push({ ...result, toOneProducer });
  }

  async close(): Promise<void> {
    for (const { open } of this.opened) await open.close();
  }
}
