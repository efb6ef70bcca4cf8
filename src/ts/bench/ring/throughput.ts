// ring-bw, ring-rate and ring-fan-in: what an inbox takes from producers that send as fast as they can.
//
// Invariant: counted by the consumer, between two looks at the clock, while every producer is sending; a message counts
// when it is held, and in the touched figures when every byte of it was read.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import { RdmaError } from '../../core/errors.js';
import { Inbox, type Lane } from '../../ring/index.js';
import { Device } from '../../verbs/index.js';
import { bindApart } from '../kit/affinity.js';
import { type Counted, floodFigures, floodWarmUpMs, startProducers } from '../kit/flood.js';
import { ANSWER_MS, Partner } from '../kit/partner.js';
import { FLOOD_SLOTS } from './flood.js';
import type { RingRequest } from './partner-main.js';
import { Reader } from './reader.js';
import { emptyResult, ourSubject, type RingResult } from './result.js';
import { laneSizes, looksOf, type RingSettings } from './settings.js';

/** Before the first count, so many messages of each producer, besides {@link floodWarmUpMs}. */
const WARM_UP_MESSAGES = 8;
const POLLS_PER_CLOCK = 256;
const TURN_MS = 5;

/**
 * Measures one size.
 *
 * @throws as ringLatency()
 */
export async function ringThroughput(
  settings: RingSettings,
  sizeBytes: number,
  producers: number,
  signal?: AbortSignal,
): Promise<RingResult> {
  const { test, device: name, way, iterations, durationS } = settings;
  const { slots, dataBytes } = laneSizes(sizeBytes, FLOOD_SLOTS);
  const secret = randomBytes(32).toString('hex');
  const device = Device.open(name);
  const partners: Partner[] = [];
  let inbox: Inbox | undefined;
  let unbind = () => {};
  try {
    inbox = await Inbox.listen({
      device,
      secret,
      wait: 'busy',
      maxLanes: producers,
      maxSlots: slots,
      maxDataBytes: dataBytes,
    });
    const consumer = new Consumer(inbox, looksOf(device), partners, sizeBytes, producers, signal);
    const place = { device: name, secret, sizeBytes, way };
    const { port } = inbox.bootstrap;
    await startProducers(producers, (index) => {
      const partner = new Partner(join(__dirname, 'partner-main.js'));
      partners.push(partner);
      const request = { do: 'flood', place, port, name: String(index), alone: producers === 1 } as const;
      return partner.ask(request satisfies RingRequest, signal);
    });
    unbind = bindApart(...partners.map(({ pid }) => pid));
    await Promise.all(partners.map((partner) => partner.ask({ do: 'start' } satisfies RingRequest, signal)));
    const held = await consumer.measure(false, iterations, durationS);
    const read = test === 'ring-bw' ? await consumer.measure(true, iterations, durationS) : undefined;
    const empty = emptyResult(test, ourSubject(settings), sizeBytes);
    return { ...empty, ...floodFigures(sizeBytes, held, read, test === 'ring-fan-in') };
  } finally {
    unbind();
    await Promise.all(partners.map((partner) => partner.end()));
    await inbox?.close();
    device.close();
  }
}

class Consumer {
  private readonly inbox: Inbox;
  private readonly looks: number;
  private readonly partners: readonly Partner[];
  private readonly signal: AbortSignal | undefined;
  private readonly readers: Reader[];
  private readonly taken: Float64Array; // of each lane since the beginning
  private total = 0;

  constructor(
    inbox: Inbox,
    looks: number,
    partners: readonly Partner[],
    sizeBytes: number,
    producers: number,
    signal: AbortSignal | undefined,
  ) {
    this.inbox = inbox;
    this.looks = looks;
    this.partners = partners;
    this.signal = signal;
    this.readers = Array.from({ length: producers }, () => new Reader(sizeBytes));
    this.taken = new Float64Array(producers);
  }

  private readonly visit = (lane: Lane): void => {
    const { id } = lane;
    const reader = this.readers[id]!;
    reader.take(lane, this.taken[id]!);
    reader.done(lane);
    this.taken[id]!++;
    this.total++;
  };

  async measure(touched: boolean, iterations: number, durationS: number): Promise<Counted> {
    for (const reader of this.readers) reader.until = touched ? 'read' : 'held';
    const warm = this.taken.map((count) => count + WARM_UP_MESSAGES);
    const warmUpMs = iterations > 0 ? 0 : floodWarmUpMs(this.readers.length);
    await this.consume(warmUpMs, () => this.taken.every((count, i) => count >= warm[i]!));
    const counts = Array.from(this.taken);
    const { total } = this;
    const begin = performance.now();
    const enough = iterations > 0 ? () => this.total - total >= iterations : () => true;
    await this.consume(iterations > 0 ? 0 : durationS * 1000, enough);
    const ms = performance.now() - begin;
    return { ms, messages: this.total - total, counts: counts.map((count, i) => this.taken[i]! - count) };
  }

  /** Takes messages for so long, and until it is enough. */
  private async consume(ms: number, enough: () => boolean): Promise<void> {
    const { inbox, visit } = this;
    const begin = performance.now();
    let before = this.total;
    let news = begin;
    let turned = begin;
    for (;;) {
      for (let i = 0; i < POLLS_PER_CLOCK; i++) inbox.poll(visit, this.looks);
      const now = performance.now();
      if (now - begin >= ms && enough()) return;
      if (this.total > before) {
        before = this.total;
        news = now;
      }
      if (now - turned < TURN_MS) continue;
      turned = now;
      await turn();
      if (this.signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the measurement was stopped');
      const failed = this.partners.find((partner) => partner.failed !== undefined);
      if (failed !== undefined) throw failed.failed!;
      if (now - news > ANSWER_MS) throw new RdmaError('RDMA_ERR_TIMEOUT', 'no message has come for 30 s');
    }
  }
}
