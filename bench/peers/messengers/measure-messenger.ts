// A message system of Node.js, measured as the rings are.
//
// Invariant: the same processes, bytes, clock and definitions as in ring/latency.ts and ring/throughput.ts; only the
// waiting differs, as these systems wake an event loop where the rings are polled.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RdmaError } from '../../../src/ts/core/errors.js';
import { type Counted, floodFigures, floodWarmUpMs, startProducers } from '../../../src/ts/bench/kit/flood.js';
import { ANSWER_MS, Partner } from '../../../src/ts/bench/kit/partner.js';
import { measurePingPong, MIN_SAMPLES, type PingPong } from '../../../src/ts/bench/kit/ping-pong.js';
import { writeMessage } from '../../../src/ts/bench/kit/payload.js';
import { emptyResult, type RingResult, type Subject } from '../../../src/ts/bench/ring/result.js';
import type { RingSettings } from '../../../src/ts/bench/ring/settings.js';
import type { LatencySummary } from '../../../src/ts/bench/kit/statistics.js';
import {
  type Hub,
  type Messenger,
  type MessengerContext,
  type Pieces,
  type Service,
  creditsOf,
  windowOf,
} from './messenger.js';
import type { MessengerRequest } from './messenger-main.js';
import { producerOf, takePieces } from './pieces.js';

const WARM_UP_MS = 1000;
const MIN_WARM_UP = 3;
const WARM_UP_MESSAGES = 4;
const LOOK_MS = 2;

/** A peer that is ready: its server runs, and its folder is there. */
export class MessengerBench {
  readonly messenger: Messenger;
  private readonly folder: string;
  private readonly service: Service | undefined;

  private constructor(messenger: Messenger, folder: string, service: Service | undefined) {
    this.messenger = messenger;
    this.folder = folder;
    this.service = service;
  }

  /**
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when something is not installed; its server's error
   */
  static async open(messenger: Messenger, signal?: AbortSignal): Promise<MessengerBench> {
    messenger.version();
    const folder = await mkdtemp(join(tmpdir(), 'onepiece-bench-'));
    try {
      return new MessengerBench(messenger, folder, await messenger.serve?.(folder, signal));
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  private get subject(): Subject {
    return { device: this.messenger.medium, peer: this.messenger.name, way: null };
  }

  /** @throws as ringLatency() */
  latency(settings: RingSettings, sizeBytes: number, signal?: AbortSignal): Promise<RingResult> {
    return this.within(sizeBytes, 1, signal, async (session) => {
      const held = await session.pingPong(settings, false);
      const read = await session.pingPong(settings, true);
      return {
        ...emptyResult('ring-lat', this.subject, sizeBytes),
        iterations: held.rounds,
        latencyUs: held.latencyUs,
        touchedUs: read.latencyUs,
      };
    });
  }

  /** @throws as ringThroughput() */
  throughput(settings: RingSettings, sizeBytes: number, producers: number, signal?: AbortSignal): Promise<RingResult> {
    const { test } = settings;
    return this.within(sizeBytes, producers, signal, async (session) => {
      await session.startFlood();
      const held = await session.count(settings, false);
      const read = test === 'ring-bw' ? await session.count(settings, true) : undefined;
      const empty = emptyResult(test, this.subject, sizeBytes);
      return { ...empty, ...floodFigures(sizeBytes, held, read, test === 'ring-fan-in') };
    });
  }

  private async within(
    sizeBytes: number,
    producers: number,
    signal: AbortSignal | undefined,
    work: (session: Session) => Promise<RingResult>,
  ): Promise<RingResult> {
    const folder = await mkdtemp(join(this.folder, 's'));
    const context = { folder, service: this.service?.address ?? '', sizeBytes, producers };
    const session = new Session(this.messenger, context, signal);
    try {
      await session.listen();
      return await work(session);
    } finally {
      await session.close();
    }
  }

  async close(): Promise<void> {
    await this.service?.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** One size, with the processes that it takes. */
class Session implements PingPong {
  private readonly messenger: Messenger;
  private readonly context: MessengerContext;
  private readonly signal: AbortSignal | undefined;
  private readonly partners: Partner[] = [];
  private readonly source: Uint8Array;
  private readonly taken: number[];
  private hub: Hub | undefined;
  private touched = false;
  private round = 0;
  private mostWarm = 0;
  private onMessage: (message: Pieces) => void = () => {};
  private failure: unknown;

  constructor(messenger: Messenger, context: MessengerContext, signal: AbortSignal | undefined) {
    this.messenger = messenger;
    this.context = context;
    this.signal = signal;
    this.source = new Uint8Array(context.sizeBytes);
    this.taken = new Array<number>(context.producers).fill(0);
  }

  async listen(): Promise<void> {
    this.hub = await this.messenger.listen(this.context, (message) => {
      try {
        this.onMessage(message);
      } catch (error) {
        this.failure ??= error;
      }
    });
  }

  private async dial(index: number, task: 'echo' | 'flood'): Promise<void> {
    const partner = new Partner(join(__dirname, 'messenger-main.js'));
    this.partners.push(partner);
    const request = { do: 'dial', messenger: this.messenger.name, context: this.context, index, task } as const;
    await partner.ask(request satisfies MessengerRequest, this.signal);
  }

  // ---- Latency

  async pingPong(settings: RingSettings, touched: boolean): Promise<{ rounds: number; latencyUs: LatencySummary }> {
    if (this.partners.length === 0) await this.dial(0, 'echo');
    this.touched = touched;
    this.mostWarm = settings.iterations > 0 ? settings.iterations : Number.POSITIVE_INFINITY;
    return await measurePingPong(this, settings);
  }

  async record(rounds: number): Promise<void> {
    const asked: MessengerRequest = { do: 'rounds', touched: this.touched, record: rounds };
    await this.partners[0]!.ask(asked, this.signal);
  }

  async warmUp(): Promise<number> {
    const begin = performance.now();
    let warm = 0;
    do {
      await this.run(new Float64Array(MIN_WARM_UP));
      warm += MIN_WARM_UP;
    } while (performance.now() - begin < WARM_UP_MS && warm < this.mostWarm);
    return (performance.now() - begin) / warm;
  }

  async writes(): Promise<Float64Array> {
    const asked: MessengerRequest = { do: 'writes' };
    return (await this.partners[0]!.ask<{ writes: Float64Array }>(asked, this.signal)).writes;
  }

  async run(samples: Float64Array, end = Number.POSITIVE_INFINITY): Promise<number> {
    const { sizeBytes } = this.context;
    let wanted = samples.length;
    let at = 0;
    let begin = 0;
    const ping = () => {
      writeMessage(this.source, this.round);
      begin = performance.now();
      void this.hub!.send(0, this.source);
    };
    this.onMessage = (message) => {
      takePieces(message, sizeBytes, this.round, this.touched);
      const now = performance.now();
      samples[at++] = now - begin;
      this.round++;
      if (now > end) wanted = Math.min(wanted, Math.max(MIN_SAMPLES, at));
      if (at < wanted) ping();
    };
    ping();
    await this.until(
      () => at >= wanted,
      () => at,
    );
    return at;
  }

  // ---- Throughput

  async startFlood(): Promise<void> {
    const { producers, sizeBytes } = this.context;
    await startProducers(producers, (index) => this.dial(index, 'flood'));
    const credit = creditsOf(windowOf(sizeBytes));
    const word = new Uint8Array(8);
    this.onMessage = (message) => {
      const producer = producerOf(message, producers);
      takePieces(message, sizeBytes, producer, this.touched);
      const count = ++this.taken[producer]!;
      if (!this.messenger.hasBackPressure && count % credit === 0) void this.hub!.send(producer, word);
    };
    const start: MessengerRequest = { do: 'start' };
    await Promise.all(this.partners.map((partner) => partner.ask(start, this.signal)));
  }

  async count({ iterations, durationS }: RingSettings, touched: boolean): Promise<Counted> {
    this.touched = touched;
    const { taken } = this;
    const total = () => taken.reduce((sum, count) => sum + count, 0);
    const warm = taken.map((count) => count + WARM_UP_MESSAGES);
    const ready = performance.now() + (iterations > 0 ? 0 : floodWarmUpMs(taken.length));
    await this.until(() => performance.now() > ready && taken.every((count, i) => count >= warm[i]!), total);
    const counts = [...taken];
    const before = total();
    const begin = performance.now();
    const enough =
      iterations > 0 ? () => total() - before >= iterations : () => performance.now() - begin >= durationS * 1000;
    await this.until(enough, total);
    const ms = performance.now() - begin;
    return { ms, messages: total() - before, counts: counts.map((count, i) => taken[i]! - count) };
  }

  /** Waits, and fails when there is no progress any more. */
  private async until(done: () => boolean, progress: () => number): Promise<void> {
    let seen = progress();
    let news = performance.now();
    while (!done()) {
      await sleep(LOOK_MS);
      if (this.failure !== undefined) throw this.failure;
      if (this.signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the measurement was stopped');
      const failed = this.partners.find((partner) => partner.failed !== undefined);
      if (failed !== undefined) throw failed.failed!;
      const now = performance.now();
      if (progress() !== seen) {
        seen = progress();
        news = now;
      } else if (now - news > ANSWER_MS) {
        throw new RdmaError('RDMA_ERR_TIMEOUT', `${this.messenger.name}: no message has come for 30 s`);
      }
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.partners.map((partner) => partner.end()));
    await this.hub?.close();
  }
}
