// ring-lat: latency of a message from one process's JavaScript to another's, by ping-pong.
//
// Invariant: both sides poll busily, and copy nothing out unless that is measured. A sample is half of the time from
// before sending until the answer is held (or read), without the time that the senders took to write the two messages.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { RdmaError } from '../../core/errors.js';
import type { Lane } from '../../ring/index.js';
import { bindApart } from '../kit/affinity.js';
import { ANSWER_MS, Partner } from '../kit/partner.js';
import { measurePingPong, MIN_SAMPLES, type PingPong } from '../kit/ping-pong.js';
import type { LatencySummary } from '../kit/statistics.js';
import { RingLink } from './link.js';
import type { RingRequest } from './partner-main.js';
import { Reader, type Until } from './reader.js';
import { emptyResult, ourSubject, type RingResult } from './result.js';
import { makeSender, type Sender } from './sender.js';
import type { RingSettings } from './settings.js';

const TURN_EVERY = 512;
const SPINS_BEFORE_CLOCK = 4096;
/** Rounds before the measurement, or so long: the code of a service that runs for hours is compiled. */
const WARM_UP = 20_000;
const MIN_WARM_UP = 3;

/**
 * Measures one size: until the message is held, until it is in the consumer's own memory, and until every byte of it
 * has been read.
 *
 * @throws RdmaError RDMA_ERR_NO_DEVICE; RDMA_ERR_TIMEOUT when the other process does not answer for 30 s;
 *   RDMA_ERR_PEER_GONE with its words when it fails; RDMA_ERR_ABORTED; RDMA_ERR_PROTOCOL when a message is not as sent
 */
export async function ringLatency(
  settings: RingSettings,
  sizeBytes: number,
  signal?: AbortSignal,
): Promise<RingResult> {
  const { device, way } = settings;
  const place = { device, secret: randomBytes(32).toString('hex'), sizeBytes, way };
  const link = await RingLink.open(place);
  const partner = new Partner(join(__dirname, 'partner-main.js'));
  let unbind = () => {};
  try {
    const open: RingRequest = { do: 'echo', place, port: link.port };
    const { port } = await partner.ask<{ port: number }>(open, signal);
    await link.connect(port);
    await partner.ask({ do: 'connect', port: link.port } satisfies RingRequest, signal);
    unbind = bindApart(partner.pid);
    const pinger = new Pinger(link, partner, settings, sizeBytes, signal);
    const held = await pinger.measure('held');
    const copied = way === 'pull' ? undefined : await pinger.measure('copied');
    const read = await pinger.measure('read');
    return {
      ...emptyResult('ring-lat', ourSubject(settings), sizeBytes),
      iterations: held.rounds,
      latencyUs: held.latencyUs,
      copiedUs: (copied ?? held).latencyUs, // a pull brings it into the consumer's own memory
      touchedUs: read.latencyUs,
    };
  } finally {
    unbind();
    await partner.end();
    await link.close();
  }
}

class Pinger implements PingPong {
  private readonly link: RingLink;
  private readonly partner: Partner;
  private readonly settings: RingSettings;
  private readonly signal: AbortSignal | undefined;
  private readonly sender: Sender;
  private readonly reader: Reader;
  private round = 0;
  private received = 0;
  private pulling = false;
  private failure: unknown;

  constructor(
    link: RingLink,
    partner: Partner,
    settings: RingSettings,
    sizeBytes: number,
    signal: AbortSignal | undefined,
  ) {
    this.link = link;
    this.partner = partner;
    this.settings = settings;
    this.signal = signal;
    this.sender = makeSender(link.outbox, sizeBytes, settings.way);
    this.reader = new Reader(sizeBytes);
  }

  private readonly visit = (lane: Lane): void => {
    if (!lane.isPulled) {
      this.reader.take(lane, this.received++);
      this.reader.done(lane);
      return;
    }
    this.pulling = true;
    this.reader.pull(lane, this.received).then(
      () => {
        this.received++;
        this.pulling = false;
      },
      (error) => {
        this.failure = error;
      },
    );
  };

  measure(until: Until): Promise<{ rounds: number; latencyUs: LatencySummary }> {
    this.reader.until = until;
    return measurePingPong(this, this.settings);
  }

  async record(rounds: number): Promise<void> {
    await this.tell({ do: 'rounds', until: this.reader.until, record: rounds });
  }

  async writes(): Promise<Float64Array> {
    const asked: RingRequest = { do: 'writes' };
    return (await this.partner.ask<{ writes: Float64Array }>(asked, this.signal)).writes;
  }

  private async tell(request: RingRequest): Promise<void> {
    await this.partner.ask(request, this.signal);
  }

  async warmUp(): Promise<number> {
    const { iterations } = this.settings;
    const most = iterations > 0 ? Math.min(WARM_UP, iterations) : WARM_UP;
    const end = performance.now() + this.link.warmUpMs;
    // The first ones meet cold code and untouched pages.
    await this.run(new Float64Array(MIN_WARM_UP));
    let rounds = 0;
    for (let count = 1; ; count = Math.min(2 * count, TURN_EVERY)) {
      const begin = performance.now();
      rounds += await this.run(new Float64Array(count));
      const now = performance.now();
      if (rounds >= most || now > end) return (now - begin) / count;
    }
  }

  async run(samples: Float64Array, end = Number.POSITIVE_INFINITY): Promise<number> {
    const { link, sender, visit } = this;
    for (let i = 0; i < samples.length; i++) {
      if (i % TURN_EVERY === 0) await this.turnUnlessStopped();
      const round = this.round++;
      const begin = performance.now();
      let spins = 0;
      while (!sender.try(round)) {
        link.poll(visit);
        if (++spins % SPINS_BEFORE_CLOCK === 0) await this.stalled(begin);
      }
      while (this.received < this.round) {
        link.poll(visit);
        // What goes on with a pull goes on in promises.
        if (this.pulling) await null;
        if (this.failure !== undefined) throw this.failure;
        if (++spins % SPINS_BEFORE_CLOCK === 0) await this.stalled(begin);
      }
      const now = performance.now();
      samples[i] = now - begin - sender.writeMs;
      if (now > end && i + 1 >= MIN_SAMPLES) return i + 1;
    }
    return samples.length;
  }

  private async turnUnlessStopped(): Promise<void> {
    await turn();
    if (this.signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the measurement was stopped');
  }

  private async stalled(begin: number): Promise<void> {
    if (performance.now() - begin < 1) return;
    await this.turnUnlessStopped();
    if (this.partner.failed !== undefined) throw this.partner.failed;
    if (performance.now() - begin > ANSWER_MS) {
      throw new RdmaError('RDMA_ERR_TIMEOUT', `the other process has not answered for ${ANSWER_MS / 1000} s`);
    }
  }
}
