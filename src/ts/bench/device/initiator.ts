// The side of `bench device` that measures: opens both sides, and tells the other one what to do.
//
// Invariant: one measurement at a time; the forked target is gone when close() has returned.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RdmaError } from '../../core/errors.js';
import { EventFd } from '../../verbs/event-fd.js';
import { ForkLink } from '../kit/link.js';
import { type CopySamples, measureCopies } from './copies.js';
import { HUGE_BYTES, type LoopGaps, measureLoopGaps } from './event-loop.js';
import { type IdleCost, idleCost } from './idle.js';
import { MarkExchange } from './mark-exchange.js';
import { checkRemote, type RemoteMemory, Side } from './side.js';
import { measureBatches, measureReads } from './small-requests.js';
import { type Ending, pause } from './spin.js';
import type { TargetConfig } from './target-main.js';
import { WakeExchange, type Waker } from './wake-exchange.js';

/** Rounds between two turns of the event loops. */
const BLOCK = 20_000;
/** Wakes of one kind before the other kind has its turn. */
const WAKE_BLOCK = 100;
const ENDING_MS = 5000;
/** What a process has to do after it did something, before it is idle. */
const SETTLE_MS = 1000;

export class Initiator {
  private readonly ending: Ending;
  private readonly marks: MarkExchange;
  private readonly wakes: WakeExchange;

  private constructor(
    readonly side: Side,
    private readonly child: ChildProcess,
    private readonly link: ForkLink,
    private readonly eventFds: readonly [EventFd, EventFd],
    private readonly signal: AbortSignal | undefined,
  ) {
    this.ending = { halt: link, signal };
    this.marks = new MarkExchange(side);
    this.wakes = new WakeExchange(side, eventFds[1], eventFds[0]);
  }

  /** @throws RdmaError RDMA_ERR_NO_DEVICE; what the device refuses; RDMA_ERR_PEER_GONE; RDMA_ERR_ABORTED */
  static async open(device: string, signal: AbortSignal | undefined): Promise<Initiator> {
    const side = new Side(device);
    const eventFds = [EventFd.open(), EventFd.open()] as const;
    const stdio = ['ignore', 2, 2, 'ipc', eventFds[0].fd, eventFds[1].fd] as const;
    // Without the collection of garbage that V8 does some seconds after a process has become idle: see `idle()`.
    const execArgv = [...process.execArgv, '--no-memory-reducer'];
    const child = fork(join(__dirname, 'target-main.js'), [], { stdio: [...stdio], execArgv });
    const link = new ForkLink(child);
    const initiator = new Initiator(side, child, link, eventFds, signal);
    try {
      await link.send({ ...({ parentPid: process.pid, device } satisfies TargetConfig), do: 'config' });
      const opened = await link.next('opened', signal);
      side.connect(opened.offer);
      await link.send({ do: 'connect', offer: side.offer() });
      await link.next('connected', signal);
      return initiator;
    } catch (error) {
      await initiator.close();
      throw error;
    }
  }

  /** @returns one-way microseconds of each WRITE, from before its post until the other side's program has seen it */
  async untilSeen(rounds: number): Promise<Float64Array> {
    const samples = new Float64Array(rounds);
    const warmUp = Math.min(BLOCK, rounds);
    await this.lead(new Float64Array(warmUp));
    for (let done = 0; done < rounds; done += BLOCK) await this.lead(samples.subarray(done, done + BLOCK));
    return samples;
  }

  private async lead(samples: Float64Array): Promise<void> {
    await this.link.send({ do: 'follow', rounds: samples.length });
    await this.link.next('following', this.signal);
    this.marks.lead(samples.length, samples);
    await pause(this.ending);
  }

  batches(count: number): Promise<Float64Array> {
    return measureBatches(this.side, count, this.ending);
  }

  reads(count: number): Promise<Float64Array> {
    return measureReads(this.side, count, this.ending);
  }

  /** @throws RdmaError RDMA_ERR_PROTOCOL when the bytes that arrived are not those that were sent */
  copies(sizeBytes: number, rounds: number): Promise<CopySamples> {
    return this.withRemote(sizeBytes, (remote) => measureCopies(this.side, remote, sizeBytes, rounds, this.ending));
  }

  /** @throws as copies() */
  loopGaps(rounds: number): Promise<LoopGaps> {
    return this.withRemote(HUGE_BYTES, (remote) => measureLoopGaps(this.side, remote, rounds, this.ending));
  }

  /** @returns one-way microseconds of each wake, for both wakers, in turn */
  async wakeUps(rounds: number): Promise<Record<Waker, Float64Array>> {
    const samples = { device: new Float64Array(rounds), eventfd: new Float64Array(rounds) };
    for (let done = -WAKE_BLOCK; done < rounds; done += WAKE_BLOCK) {
      for (const waker of ['device', 'eventfd'] as const) {
        const part = done < 0 ? new Float64Array(WAKE_BLOCK) : samples[waker].subarray(done, done + WAKE_BLOCK);
        await this.link.send({ do: 'wake', waker, rounds: part.length });
        await this.link.next('asleep', this.signal);
        await this.wakes.run(waker, part.length, part, this.ending);
      }
    }
    return samples;
  }

  /** What the other side costs while nothing happens. */
  async idle(seconds: number): Promise<IdleCost> {
    const options = this.signal === undefined ? {} : { signal: this.signal };
    try {
      await sleep(SETTLE_MS, undefined, options);
      return await idleCost(this.child.pid!, seconds, this.signal);
    } catch (error) {
      if (this.signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the measurement was stopped');
      throw error;
    }
  }

  async close(): Promise<void> {
    const { child } = this;
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, 'exit');
      await this.link.send({ do: 'end' }).catch(() => {});
      const timer = setTimeout(() => child.kill('SIGKILL'), this.signal?.aborted ? 0 : ENDING_MS);
      await ended;
      clearTimeout(timer);
    }
    this.link.close();
    this.side.close();
    for (const eventFd of this.eventFds) eventFd.close();
  }

  private async withRemote<T extends { digest: string }>(
    bytes: number,
    measure: (remote: RemoteMemory) => Promise<T>,
  ): Promise<T> {
    const { link, signal } = this;
    await link.send({ do: 'register', bytes });
    const remote = checkRemote(await link.next('registered', signal));
    const measured = await measure(remote);
    await link.send({ do: 'digest' });
    const { digest } = await link.next('digest', signal);
    if (digest !== measured.digest) {
      throw new RdmaError('RDMA_ERR_PROTOCOL', `of ${bytes} bytes that were written others have arrived`);
    }
    await link.send({ do: 'release' });
    await link.next('released', signal);
    return measured;
  }
}
