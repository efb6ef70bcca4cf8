// The side that measures: opens both sides, and then measures size by size, as often as asked.
//
// Invariant: both sides are asked for the same counts, so that they end together; close() closes all that open() has
// opened, and the forked server is gone when it has returned.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { RdmaError } from '../../core/errors.js';
import { checkInteger } from '../../core/validate.js';
import { allowedCores, bindApart } from '../kit/affinity.js';
import { Contention } from '../kit/contention.js';
import { type BandwidthSummary, type LatencySummary, summarizeBandwidth, summarizeLatency } from '../kit/statistics.js';
import { killed } from '../kit/kill.js';
import { ForkLink, type Link, SocketLink } from '../kit/link.js';
import { drive } from '../kit/loop.js';
import { Receives } from './receives.js';
import type { ServerConfig } from './server-main.js';
import { isLatency, isPingPong, MAX_PEAK_ITERATIONS, type VerbsSettings, verbOf } from './settings.js';
import { type Place, Side } from './side.js';
import { type SizeRun, sizeRun } from './size-run.js';

/** What was measured of one size; one of the two is null. */
export interface Measurement {
  sizeBytes: number;
  /** Samples, or messages of all queue pairs in one direction. */
  iterations: number;
  latency: LatencySummary | null;
  bandwidth: BandwidthSummary | null;
  /** Sorted samples in microseconds, of latency tests. */
  samplesUs: Float64Array | null;
}

export interface ServerAddress {
  host: string;
  port: number;
}

/** Unless told otherwise so many rounds go first, so that the code that is measured is the compiled one. */
const WARM_UP = 20_000;
const WARM_UP_MS = 2000;
const FIRST_BLOCK = 16;
/** How long a part of a measurement by duration should take. */
const BLOCK_MS = 250;
/** Samples that are kept of a measurement by duration; when there are more, every second one is dropped. */
const MAX_KEPT = 1 << 22;
const CONNECT_MS = 10_000;
const NO_SAMPLES = new Float64Array(0);
const NO_TIMES = { posted: NO_SAMPLES, completed: NO_SAMPLES };

export class Client {
  /** What people should know of the figures, in words; each once. */
  readonly warnings = new Set<string>();
  private run: SizeRun = {};
  private unbind = () => {};
  private receives: Receives | undefined;

  private constructor(
    readonly settings: VerbsSettings,
    readonly side: Side,
    private readonly link: Link,
    private readonly child: ChildProcess | undefined,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /**
   * Opens both sides and connects them.
   *
   * @param at a server that listens; without it a process is forked that serves on the same device
   * @param bound whether each side gets a core of its own, when both are here
   * @throws RdmaError RDMA_ERR_NO_DEVICE; what the device or the server refuses; RDMA_ERR_PEER_GONE; RDMA_ERR_ABORTED
   */
  static async open(
    place: Place,
    settings: VerbsSettings,
    at: ServerAddress | undefined,
    signal: AbortSignal | undefined,
    bound = true,
  ): Promise<Client> {
    const side = new Side(place, settings);
    let child: ChildProcess | undefined;
    let link: Link | undefined;
    try {
      if (at === undefined) {
        child = fork(join(__dirname, 'server-main.js'), [], { stdio: ['ignore', 2, 2, 'ipc'] });
        child.send({ parentPid: process.pid, place } satisfies ServerConfig);
        link = new ForkLink(child);
      } else {
        link = await reach(at, signal);
      }
      const client = new Client(settings, side, link, child, signal);
      await client.connect();
      if (bound && child?.pid !== undefined) client.bind(child.pid);
      return client;
    } catch (error) {
      link?.close();
      side.close();
      await killed(child);
      throw error;
    }
  }

  // Two that poll on one core wait for each other's time slice.
  private bind(pid: number): void {
    if (allowedCores().length < 2) {
      this.warnings.add('both sides share the only core that this process may use');
      return;
    }
    try {
      this.unbind = bindApart(pid);
    } catch (error) {
      this.warnings.add(`the two sides may share a core: ${(error as Error).message}`);
    }
  }

  private async connect(): Promise<void> {
    const { link, side, settings, signal } = this;
    await link.send({ do: 'open', settings });
    const opened = await link.next('opened', signal);
    side.connect(opened.offer);
    if (verbOf(settings.test) === 'send') this.receives = new Receives(side, settings);
    await link.send({ do: 'connect', offer: side.offer() });
    await link.next('connected', signal);
  }

  /**
   * Measures one size, after a warm-up.
   *
   * @throws RdmaError RDMA_ERR_COMPLETION with what a request failed with; RDMA_ERR_TIMEOUT; RDMA_ERR_PEER_GONE;
   *   RDMA_ERR_ABORTED
   */
  async measure(sizeBytes: number): Promise<Measurement> {
    const { link, side, settings, signal } = this;
    side.clear();
    await link.send({ do: 'size', bytes: sizeBytes });
    await link.next('ready', signal);
    this.run = sizeRun(side, settings, this.receives, sizeBytes, true);
    const msEach = await this.warmUp();
    const { pid } = this.child ?? {};
    const contention = new Contention(pid === undefined ? [process.pid] : [process.pid, pid]);
    const measured = isLatency(settings.test)
      ? await this.measureLatency(sizeBytes, msEach)
      : await this.measureBandwidth(sizeBytes, msEach);
    const warning = contention.warning();
    if (warning !== undefined) this.warnings.add(warning);
    return measured;
  }

  // Blocks that double, until there were enough rounds or two seconds are over. Answers how long one takes now.
  private async warmUp(): Promise<number> {
    const wanted = this.settings.warmUp < 0 ? WARM_UP : this.settings.warmUp;
    const begin = performance.now();
    let msEach = 0;
    for (let done = 0, block = FIRST_BLOCK; done < wanted; done += block, block *= 2) {
      const started = performance.now();
      // With samples: a branch that was never taken would throw away the compiled code when it counts.
      const samples = new Float64Array(isLatency(this.settings.test) ? block : 0);
      await this.block(Math.min(block, wanted - done), samples, NO_TIMES);
      msEach = (performance.now() - started) / block;
      const left = WARM_UP_MS - (performance.now() - begin);
      if (left < msEach * block * 2) break;
    }
    return msEach;
  }

  private async measureLatency(sizeBytes: number, msEach: number): Promise<Measurement> {
    const { iterations, durationS, test } = this.settings;
    let kept = new Float64Array(durationS > 0 ? 0 : iterations);
    let total = iterations;
    if (durationS === 0) await this.block(iterations, kept, NO_TIMES);
    else ({ kept, total } = await this.sampleFor(durationS * 1000, msEach));
    const factor = isPingPong(test) ? 500 : 1000; // half a round trip, or a whole one, in microseconds
    for (let i = 0; i < kept.length; i++) kept[i] = kept[i]! * factor;
    kept.sort();
    return { sizeBytes, iterations: total, latency: summarizeLatency(kept), bandwidth: null, samplesUs: kept };
  }

  private async sampleFor(
    wantedMs: number,
    msEach: number,
  ): Promise<{ kept: Float64Array<ArrayBuffer>; total: number }> {
    const room = new Float64Array(MAX_KEPT);
    const begin = performance.now();
    let each = msEach;
    let [total, count, stride] = [0, 0, 1];
    for (let left = wantedMs; left > 0; left = wantedMs - (performance.now() - begin)) {
      const rounds = blockRounds(Math.min(BLOCK_MS, left), each, MAX_KEPT / 2);
      const samples = new Float64Array(rounds);
      const started = performance.now();
      await this.block(rounds, samples, NO_TIMES);
      each = (performance.now() - started) / rounds;
      for (let i = 0; i < rounds; i++) {
        if ((total + i) % stride !== 0) continue;
        if (count === MAX_KEPT) {
          for (let k = 0; k < MAX_KEPT / 2; k++) room[k] = room[2 * k]!;
          count = MAX_KEPT / 2;
          stride *= 2;
          if ((total + i) % stride !== 0) continue;
        }
        room[count++] = samples[i]!;
      }
      total += rounds;
    }
    return { kept: room.slice(0, count), total };
  }

  private async measureBandwidth(sizeBytes: number, msEach: number): Promise<Measurement> {
    const { iterations, durationS, qps } = this.settings;
    const parts: { messages: number; tookMs: number; peerTookMs: number }[] = [];
    let times = NO_TIMES;
    if (durationS === 0) {
      const total = iterations * qps;
      if (total <= MAX_PEAK_ITERATIONS) times = { posted: new Float64Array(total), completed: new Float64Array(total) };
      parts.push({ messages: total, ...(await this.block(iterations, NO_SAMPLES, times)) });
    } else {
      const begin = performance.now();
      let each = msEach;
      for (let left = durationS * 1000; left > 0; left = durationS * 1000 - (performance.now() - begin)) {
        const messages = blockRounds(Math.min(BLOCK_MS, left), each, 1 << 24);
        const took = await this.block(messages, NO_SAMPLES, NO_TIMES);
        each = took.tookMs / messages;
        parts.push({ messages: messages * qps, ...took });
      }
    }
    const bandwidth = summarizeBandwidth(sizeBytes, parts, times);
    const total = parts.reduce((sum, part) => sum + part.messages, 0);
    return { sizeBytes, iterations: total, latency: null, bandwidth, samplesUs: null };
  }

  // `count` rounds, or messages of each queue pair, on both sides. Answers how long the messages of either side took.
  private async block(
    count: number,
    samples: Float64Array,
    times: { posted: Float64Array; completed: Float64Array },
  ): Promise<{ tookMs: number; peerTookMs: number }> {
    const { link, run, signal, side } = this;
    run.latency?.begin(count, samples);
    run.bandwidth?.begin(count, times);
    await link.send({ do: 'run', count });
    await link.next('running', signal);
    await drive((run.latency ?? run.bandwidth)!, { halt: link, sleeper: side.sleeper, signal });
    const ran = await link.next('ran', signal);
    const { beganAt = 0, endedAt = 0 } = run.bandwidth ?? {};
    return { tookMs: endedAt - beganAt, peerTookMs: Number(ran.tookMs) || 0 };
  }

  async close(): Promise<void> {
    this.unbind();
    await this.link.send({ do: 'bye' }).catch(() => undefined); // it may be gone already
    this.link.close();
    this.side.close();
    await killed(this.child);
  }
}

function blockRounds(ms: number, msEach: number, most: number): number {
  return checkInteger('rounds', Math.max(5, Math.min(most, msEach > 0 ? Math.ceil(ms / msEach) : 64)));
}

async function reach({ host, port }: ServerAddress, signal: AbortSignal | undefined): Promise<Link> {
  const socket = connect({ host, port });
  const limit = AbortSignal.timeout(CONNECT_MS);
  try {
    await once(socket, 'connect', { signal: signal === undefined ? limit : AbortSignal.any([signal, limit]) });
  } catch (error) {
    socket.destroy();
    if (signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the measurement was stopped');
    throw new RdmaError('RDMA_ERR_PEER_GONE', `no benchmark server at ${host}:${port}`, {
      cause: error,
      remedy: 'start the same command there first, with --listen',
    });
  }
  return new SocketLink(socket);
}
