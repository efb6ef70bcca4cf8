// One run of the real inbox and outboxes in a simulated world, with everything that must hold checked at every step.
//
// Invariant: a run that ends without a word in `broken` has kept every property of docs/ring-simulation.md; one with a
// word names the command that repeats it.
import type { Choices } from '../../src/ts/sim/choices.js';
import { SimWorld } from '../../src/ts/sim/world.js';
import { catching } from './catching.js';
import { Consumer } from './consumer.js';
import { Producer } from './producer.js';
import type { Fault, Shape } from './shape.js';

/** How long everything may take after the last fault, in virtual ms: longer than any time-out of the rings. */
const LIVENESS_MS = 60_000;
/** Faults come within so many steps, and so many more for each message. */
const FAULT_STEPS = 20;
const FAULT_STEPS_PER_MESSAGE = 6;
const MAX_STEPS = 200_000;

export interface Verdict {
  broken: string[];
  steps: number;
  virtualMs: number;
  deliveries: number;
  pulls: number;
  /** Blocks of producers that were mapped, and read. */
  maps: number;
  reads: number;
  /** What went wrong on purpose. */
  faults: string[];
}

class RingRun {
  private readonly world: SimWorld;
  private readonly shape: Shape;
  private readonly choices: Choices;
  private readonly producers = new Map<string, Producer>();
  private readonly live: Producer[] = [];
  private readonly consumer: Consumer;
  private readonly faults: string[] = [];
  private readonly plan: number[] = [];
  private faultsLeft: number;
  private stopped = 0;
  private away = 0; // processes that are about to come again
  private lastFaultMs = 0;
  private landings = 0;
  private killNext = false;
  private readonly seen = new Map<string, number>();

  constructor(choices: Choices, shape: Shape) {
    this.choices = choices;
    this.shape = shape;
    const { copier, tearShare, pollBatch, flaw } = shape;
    // Who copies by itself stores in order.
    const weakOrder = shape.weakOrder && copier === 'device';
    const options = { copier, tearShare, weakOrder, pollBatch, oneWriter: true };
    this.world = new SimWorld(choices, flaw === undefined ? options : { ...options, flaw });
    this.consumer = new Consumer(this.world, shape, this.producers);
    this.faultsLeft = shape.faults.length === 0 ? 0 : shape.faultCount;
    if (!choices.exhaustive) {
      const within = FAULT_STEPS + FAULT_STEPS_PER_MESSAGE * shape.producers * shape.messages;
      for (let i = 0; i < this.faultsLeft; i++) this.plan.push(choices.pick(within, 'fault'));
      this.plan.sort((a, b) => a - b);
    }
    this.world.onStep = () => this.step();
    this.world.killAt = (process) => this.killAt(process.name);
  }

  async play(): Promise<Verdict> {
    const { world, consumer } = this;
    await catching(world, async () => {
      void consumer.open();
      for (let i = 1; i <= this.shape.producers; i++) this.start(i, 1);
      await world.scheduler.run(() => this.settled() || this.ended(), Number.POSITIVE_INFINITY);
      if (world.broken.length === 0 && !this.settled()) world.broken.push(`deadlock: ${this.words()}`);
      if (world.broken.length === 0) await this.tearDown();
    });
    const { steps, nowMs } = world.scheduler;
    return {
      broken: world.broken,
      steps,
      virtualMs: nowMs,
      deliveries: consumer.books.deliveries,
      pulls: consumer.books.pulls,
      maps: consumer.books.maps,
      reads: consumer.books.reads,
      faults: this.faults,
    };
  }

  private start(index: number, incarnation: number): void {
    const producer = new Producer(this.world, this.shape, index, incarnation);
    this.producers.set(producer.name, producer);
    this.live.push(producer);
    producer.run(this.consumer.to).catch((error: Error) => {
      if (producer.process.state !== 'dead') this.world.broken.push(`${producer.name} has failed: ${error.message}`);
    });
  }

  private settled(): boolean {
    if (this.stopped > 0 || this.away > 0 || this.plan.length > 0) return false;
    return this.live.every((producer) => producer.done);
  }

  private ended(): boolean {
    const { world } = this;
    const { steps, nowMs } = world.scheduler;
    // Faults that were planned for later than everything is over do not come.
    if (this.plan.length > 0 && this.live.every((producer) => producer.done)) this.plan.length = 0;
    return world.broken.length > 0 || nowMs > this.lastFaultMs + LIVENESS_MS || steps > MAX_STEPS;
  }

  private words(): string {
    const states = this.live.map(({ name, outbox, done, begun }) => {
      const connected = outbox?.connected === true ? 'connected' : 'not connected';
      return `${name} ${done ? 'done' : `${connected}, ${begun} sent, ${outbox?.acknowledged ?? 0} acknowledged`}`;
    });
    const { nowMs, steps } = this.world.scheduler;
    return `${states.join('; ')}, at ${nowMs.toFixed(3)} ms, step ${steps}`;
  }

  // ---- What must hold, at every step

  private step(): void {
    const { world, consumer } = this;
    for (const producer of this.live) {
      const { name, outbox } = producer;
      if (outbox === undefined) continue;
      const { acknowledged, unacknowledged } = outbox;
      if (acknowledged > consumer.acknowledgedOf(producer)) {
        world.broken.push(`${name}: ${acknowledged} counts as acknowledged and is not`);
      }
      if (acknowledged < (this.seen.get(name) ?? 0)) world.broken.push(`${name}: an acknowledgement was taken back`);
      this.seen.set(name, acknowledged);
      if (unacknowledged > this.shape.retainMessages) world.broken.push(`${name} holds more than it may`);
    }
    if (world.landings !== this.landings) {
      this.landings = world.landings;
      consumer.checkHeld();
    }
    if (world.missingReceives > 0) world.broken.push('an immediate found no receive: credits were exceeded');
    if (this.faultsLeft > 0) this.maybeFault();
  }

  // ---- What goes wrong

  private maybeFault(): void {
    const { faults } = this.shape;
    if (this.choices.exhaustive) {
      const answer = this.choices.pick(1 + faults.length, 'fault');
      if (answer > 0) this.inflict(faults[answer - 1]!);
      return;
    }
    if (this.plan[0] === undefined || this.world.scheduler.steps < this.plan[0]) return;
    this.plan.shift();
    this.inflict(faults[this.choices.pick(faults.length, 'fault')]!);
  }

  private inflict(fault: Fault): void {
    this.faultsLeft--;
    const { consumer, choices, world } = this;
    this.lastFaultMs = world.scheduler.nowMs;
    const running = this.live.filter((each) => each.process.state !== 'dead');
    const producer = running[choices.pick(running.length, 'fault')];
    const said = (what: string) => this.faults.push(`${what} at step ${world.scheduler.steps}`);
    if (fault === 'crash-producer' && producer !== undefined) {
      said(`${producer.name} crashes`);
      this.crash(producer);
    } else if (fault === 'stop-producer' && producer !== undefined) {
      said(`${producer.name} stops`);
      this.pause(producer.process);
    } else if (fault === 'stop-consumer') {
      said('the inbox stops');
      this.pause(consumer.current.process);
    } else if (fault === 'crash-consumer' && consumer.current.process.state === 'running') {
      said('the inbox crashes');
      consumer.current.process.crash();
      this.away++;
      world.scheduler.add(this.delay(2000), undefined, true, () => {
        this.away--;
        void consumer.replace();
      });
    } else if (fault === 'replace-consumer' && consumer.current.inbox !== undefined) {
      said('the inbox drains, and another one takes its place');
      const old = consumer.current;
      this.away++;
      world.scheduler.add(0, undefined, true, () => {
        this.away--;
        if (old !== consumer.current || old.process.state !== 'running') return;
        void consumer.replace();
        void old.drain();
      });
    } else if (fault === 'cut-queue-pair') {
      const open = world.openQueuePairs();
      said('a queue pair breaks');
      open[choices.pick(open.length, 'fault')]?.cut();
    } else if (fault === 'stall-queue-pair') {
      const open = world.openQueuePairs();
      const ms = this.delay(2000);
      said(`a queue pair stalls for ${ms.toFixed(3)} ms`);
      open[choices.pick(open.length, 'fault')]?.stall(ms);
    } else if (fault === 'cut-channel') {
      const open = [...world.network.channels];
      said('a bootstrap connection breaks');
      open[choices.pick(open.length, 'fault')]?.cut();
    } else if (fault === 'kill-at-request') {
      this.killNext = true;
    }
  }

  private delay(high: number): number {
    return this.choices.exhaustive ? high : this.choices.delay(0, high);
  }

  private pause(process: { stop(): void; continue(): void; state: string }): void {
    if (process.state !== 'running') return;
    process.stop();
    this.stopped++;
    this.world.scheduler.add(this.delay(8000), undefined, false, () => {
      this.stopped--;
      process.continue();
      this.lastFaultMs = this.world.scheduler.nowMs;
    });
  }

  private killAt(name: string): boolean {
    if (!this.killNext || this.producers.get(name)?.process.state !== 'running') return false;
    // Each request of the rest of the run may be the last.
    if (!this.choices.chance(0.3, 'fault')) return false;
    this.killNext = false;
    this.faults.push(`${name} dies between two requests`);
    // The process is gone when this call comes back; its end is noticed in an event of its own.
    this.world.scheduler.add(0, undefined, false, () => this.gone(this.producers.get(name)!));
    return true;
  }

  private crash(producer: Producer): void {
    producer.process.crash();
    this.gone(producer);
  }

  private gone(producer: Producer): void {
    this.live.splice(this.live.indexOf(producer), 1);
    if (!this.shape.restarts) return;
    this.away++;
    const [, index, incarnation] = /^p(\d+)\.(\d+)$/.exec(producer.name)!;
    this.world.scheduler.add(this.delay(2000), undefined, true, () => {
      this.away--;
      this.start(Number(index), Number(incarnation) + 1);
    });
  }

  // ---- The end

  private async tearDown(): Promise<void> {
    const { world, consumer, live } = this;
    this.faultsLeft = 0;
    this.killNext = false;
    for (const producer of live) void producer.close();
    const inboxes = consumer.incarnations.filter(({ process }) => process.state !== 'dead');
    for (const inbox of inboxes) void inbox.close();
    const closed = () => inboxes.every((inbox) => inbox.closed) && live.every((producer) => producer.closed);
    const done = await world.scheduler.run(closed, world.scheduler.nowMs + LIVENESS_MS);
    if (!done) world.broken.push('close() does not end');
    for (const device of world.devices) {
      if (device.process.state === 'dead' || device.objects.size === 0) continue;
      const names = [...device.objects].map((object) => object.constructor.name);
      world.broken.push(`${device.process.name} has left ${names.join(', ')}`);
    }
  }
}

/** Plays one run. */
export function play(choices: Choices, shape: Shape): Promise<Verdict> {
  return new RingRun(choices, shape).play();
}
