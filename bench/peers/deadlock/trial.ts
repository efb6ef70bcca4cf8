// One trial: a simulated world, a consumer, its producers, the faults of the workload, and what came of it.
//
// Invariant: the consumer and the network are well; a trial ends when all living producers know that everything was
// sent and the consumer has had time to take it, or when nothing goes on any more.
import { SeededChoices } from '../../../src/ts/sim/choices.js';
import { simPort } from '../../../src/ts/sim/port.js';
import type { SimProcess } from '../../../src/ts/sim/process.js';
import { SimWorld } from '../../../src/ts/sim/world.js';
import { Books, type TrialResult } from './books.js';
import { openInbox, sendAll } from './lanes.js';
import { SharedRingConsumer, SKIP_MS } from './shared-ring-consumer.js';
import { LEASE_MS, SharedRingProducer } from './shared-ring-producer.js';
import { DEADLOCK_MS, type PlannedFault, PRODUCERS, type Workload, workloadOf } from './workload.js';

export const protocols = ['lock', 'lock-timeout', 'lanes'] as const;
export type Protocol = (typeof protocols)[number];

/** After everything was sent, for what the consumer waits for or skips, and for late writers. */
const DRAIN_MS = 10 * SKIP_MS;

class Trial {
  private readonly world: SimWorld;
  private readonly workload: Workload;
  private readonly books: Books;
  private readonly processes: SimProcess[] = [];
  private pending = 0; // pauses that have not ended, and faults that have not come
  private readonly unwell: number[] = new Array<number>(PRODUCERS).fill(0);
  private readonly protocol: Protocol;
  private readonly seed: number;

  constructor(protocol: Protocol, seed: number) {
    this.protocol = protocol;
    this.seed = seed;
    this.workload = workloadOf(seed);
    this.world = new SimWorld(new SeededChoices(seed, 2), {
      copier: this.workload.copier,
      tearShare: 0.1,
      weakOrder: false,
      pollBatch: 16,
      oneWriter: protocol === 'lanes',
    });
    this.books = new Books(this.workload, () => this.world.scheduler.nowMs);
  }

  async play(): Promise<TrialResult> {
    const { world, books } = this;
    const { scheduler } = world;
    let address: { host: string; port: number } | undefined;
    const consumer = simPort(world, world.process('consumer'));
    const opening =
      this.protocol === 'lanes' ? openInbox(consumer, books) : new SharedRingConsumer(consumer, books).listen();
    void opening.then((bound) => {
      address = bound;
    });
    await scheduler.run(() => address !== undefined, DEADLOCK_MS);
    if (address === undefined) throw new Error('the consumer does not listen');
    for (let index = 0; index < PRODUCERS; index++) this.start(index, address);
    for (const fault of this.workload.faults) this.plan(fault);

    const stuck = () => this.pending === 0 && scheduler.nowMs > books.lastProgressMs + DEADLOCK_MS;
    await scheduler.run(() => this.over() || stuck(), Number.POSITIVE_INFINITY);
    const endMs = scheduler.nowMs + DRAIN_MS;
    await scheduler.run(() => scheduler.nowMs > endMs, endMs);
    if (world.broken.length > 0) throw new Error(`${this.protocol}, trial ${this.seed}: ${world.broken[0]}`);
    return books.result();
  }

  private over(): boolean {
    return this.pending === 0 && this.books.complete;
  }

  private start(index: number, address: { host: string; port: number }): void {
    const { world, books, workload } = this;
    const process = world.process(`producer ${index}`);
    this.processes.push(process);
    const port = simPort(world, process);
    const to = () => address;
    const { choices } = world;
    const leaseMs = this.protocol === 'lock-timeout' ? LEASE_MS : undefined;
    const running =
      this.protocol === 'lanes'
        ? sendAll(port, books, workload, index, to)
        : new SharedRingProducer({ port, choices, books, workload, index, to, leaseMs }).run();
    running.catch((error: unknown) => world.caught(error));
  }

  private plan(fault: PlannedFault): void {
    this.pending++;
    this.world.scheduler.add(fault.atMs, undefined, false, () => {
      this.pending--;
      this.inflict(fault);
    });
  }

  private inflict({ producer, kind, pauseMs }: PlannedFault): void {
    const { world, books } = this;
    const process = this.processes[producer]!;
    if (process.state === 'dead') return;
    const mine = world.openQueuePairs().filter((qp) => qp.domain.device.process === process);
    books.fault(
      producer,
      kind === 'crash',
      this.unwell.map((faults) => faults === 0),
    );
    if (kind === 'crash') {
      this.unwell[producer]!++;
      process.crash();
    } else if (kind === 'cut') for (const qp of mine) qp.cut();
    else {
      if (kind === 'stop') process.stop();
      else for (const qp of mine) qp.stall(pauseMs);
      this.pending++;
      this.unwell[producer]!++;
      world.scheduler.add(pauseMs, undefined, false, () => {
        this.pending--;
        this.unwell[producer]!--;
        process.continue();
        books.lastProgressMs = world.scheduler.nowMs;
      });
    }
  }
}

/** Plays the trial of a seed with one protocol. */
export function playTrial(protocol: Protocol, seed: number): Promise<TrialResult> {
  return new Trial(protocol, seed).play();
}
