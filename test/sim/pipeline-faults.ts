// What goes wrong in a simulated pipeline, and when.
//
// Invariant: each fault is over after a bounded time: a stopped process is continued or ended, a dead one is replaced.
// So a time comes after which nothing goes wrong any more.
import type { SimProcess } from '../../src/ts/sim/process.js';
import type { SimWorld } from '../../src/ts/sim/world.js';
import type { PlaceProcess } from './pipeline-place.js';
import type { PipelineFault, PipelineShape } from './pipeline-shape.js';
import type { Supervisor } from './pipeline-supervisor.js';

/** Faults come within so many steps, and so many more for each place and for each task. */
const FAULT_STEPS = 20;
const FAULT_STEPS_PER_PLACE = 60;
const FAULT_STEPS_PER_TASK = 15;
const STOP_MS = 8000;
const STALL_MS = 2000;

export class Faults {
  /** What has gone wrong. */
  readonly said: string[] = [];
  /** When the last one came, or was over. */
  lastMs = 0;
  private readonly world: SimWorld;
  private readonly supervisor: Supervisor;
  private readonly shape: PipelineShape;
  private readonly planned: number[] = []; // steps
  private readonly inflicted = new Set<PipelineFault>();
  private left: number;
  private under = 0; // faults that are not over
  private killNext = false;
  /** A caller gives up its request: says which one, or undefined when there is none. */
  onCancel: () => string | undefined = () => undefined;

  constructor(world: SimWorld, shape: PipelineShape, supervisor: Supervisor) {
    this.world = world;
    this.shape = shape;
    this.supervisor = supervisor;
    this.left = shape.faults.length === 0 ? 0 : shape.faultCount;
    if (!world.choices.exhaustive) {
      const places = shape.stages.reduce((sum, { instances }) => sum + instances, shape.gateways);
      const tasks = shape.requests.length * shape.stages.length;
      const within = FAULT_STEPS + places * FAULT_STEPS_PER_PLACE + tasks * FAULT_STEPS_PER_TASK;
      for (let i = 0; i < this.left; i++) this.planned.push(world.choices.pick(within, 'fault'));
      this.planned.sort((a, b) => a - b);
    }
    world.killAt = (process) => this.killAt(process);
  }

  /** What is not over, in words. */
  get leftover(): string | undefined {
    return this.planned.length > 0 || this.under > 0 ? 'a fault is not over' : undefined;
  }

  /** Faults that were planned for later than everything is over do not come. */
  dropPlanned(isOver: boolean): void {
    if (isOver && this.planned.length > 0) this.planned.length = 0;
  }

  private get offered(): readonly PipelineFault[] {
    const { faults, eachOnce } = this.shape;
    return eachOnce === true ? faults.filter((fault) => !this.inflicted.has(fault)) : faults;
  }

  /** None come any more. */
  end(): void {
    this.left = 0;
    this.killNext = false;
  }

  /** Called at every step: what may go wrong now does, if it is chosen. */
  step(): void {
    if (this.left === 0) return;
    const { choices, scheduler } = this.world;
    const faults = this.offered;
    if (choices.exhaustive) {
      const answer = choices.pick(1 + faults.length, 'fault');
      if (answer > 0) this.inflict(faults[answer - 1]!);
    } else if (this.planned[0] !== undefined && scheduler.steps >= this.planned[0]) {
      this.planned.shift();
      this.inflict(faults[choices.pick(faults.length, 'fault')]!);
    }
  }

  private say(what: string): void {
    this.lastMs = this.world.scheduler.nowMs;
    this.said.push(`${what} at step ${this.world.scheduler.steps}`);
  }

  private one<T>(items: readonly T[]): T | undefined {
    return items[this.world.choices.pick(items.length, 'fault')];
  }

  private delay(high: number): number {
    return this.world.choices.exhaustive ? high : this.world.choices.delay(0, high);
  }

  // Something that is over in a while.
  private later(ms: number, call: () => void): void {
    this.under++;
    this.world.scheduler.add(ms, undefined, true, () => {
      this.under--;
      this.lastMs = this.world.scheduler.nowMs;
      call();
    });
  }

  private inflict(fault: PipelineFault): void {
    this.left--;
    this.inflicted.add(fault);
    const { supervisor, world } = this;
    const running = [...supervisor.processes()].filter(({ isRunning, closed }) => isRunning && !closed);
    switch (fault) {
      case 'crash':
      case 'stop':
      case 'stop-and-replace':
      case 'replace': {
        const victim = this.one(running);
        if (victim !== undefined) this.strike(fault, victim);
        return;
      }
      case 'cancel': {
        const cancelled = this.onCancel();
        if (cancelled !== undefined) this.say(`${cancelled} is cancelled`);
        return;
      }
      case 'kill-at-request':
        this.killNext = true;
        return;
      case 'cut-queue-pair':
        this.say('a queue pair breaks');
        this.one(world.openQueuePairs())?.cut();
        return;
      case 'stall-queue-pair': {
        const ms = this.delay(STALL_MS);
        this.say(`a queue pair stalls for ${ms.toFixed(3)} ms`);
        this.one(world.openQueuePairs())?.stall(ms);
        this.later(ms, () => {});
        return;
      }
      case 'cut-channel':
        this.say('a bootstrap connection breaks');
        this.one([...world.network.channels])?.cut();
        return;
      default:
        this.changePlan(fault);
    }
  }

  private changePlan(fault: 'scale-up' | 'scale-down' | 'give-up'): void {
    const { supervisor } = this;
    const stages = supervisor.plan.instances.map((_, stage) => stage);
    const stage = this.one(
      fault === 'scale-up' ? stages : stages.filter((i) => supervisor.plan.instances[i]!.length > 1),
    );
    if (stage === undefined) return;
    if (fault === 'scale-up') {
      if (supervisor.scaleUp(stage)) this.say(`stage s${stage} gets an instance`);
      return;
    }
    const instance = this.one(supervisor.plan.instances[stage]!)!;
    if (fault === 'scale-down') {
      if (supervisor.scaleDown(stage, instance)) this.say(`s${stage}/${instance} is not needed any more`);
    } else if (supervisor.giveUp(stage, instance)) this.say(`s${stage}/${instance} dies for good`);
  }

  private strike(fault: 'crash' | 'stop' | 'stop-and-replace' | 'replace', victim: PlaceProcess): void {
    const { process } = victim;
    if (fault === 'crash') {
      this.say(`${process.name} dies`);
      process.crash();
      this.supervisor.replace(victim);
    } else if (fault === 'replace') {
      this.say(`${process.name} is closed, and replaced`);
      victim.close();
      this.supervisor.replace(victim);
    } else {
      const ms = this.delay(STOP_MS);
      const fate = fault === 'stop' ? 'stops' : 'stops, and is replaced,';
      this.say(`${process.name} ${fate} for ${ms.toFixed(3)} ms`);
      this.stop(victim, ms);
      if (fault === 'stop') return;
      this.supervisor.replace(victim);
      this.later(ms + this.delay(STOP_MS), () => process.crash());
    }
  }

  private stop(victim: PlaceProcess, ms: number): void {
    const { process } = victim;
    process.stop();
    victim.stoppedMs += ms;
    this.later(ms, () => process.continue());
  }

  /** A handler has ended its process: that is noticed in an event of its own. */
  ended(process: SimProcess): void {
    const victim = [...this.supervisor.processes()].find((each) => each.process === process);
    if (victim === undefined) return;
    this.say(`${process.name} is ended by a request`);
    this.later(0, () => this.supervisor.replace(victim));
  }

  private killAt(process: SimProcess): boolean {
    if (!this.killNext || process.state !== 'running') return false;
    const victim = [...this.supervisor.processes()].find((each) => each.process === process);
    // Each request of the rest of the run may be the last.
    if (victim === undefined || victim.closed || !this.world.choices.chance(0.05, 'fault')) return false;
    this.killNext = false;
    this.say(`${process.name} dies between two requests`);
    // The process is gone when this call comes back; its end is noticed in an event of its own.
    this.later(0, () => this.supervisor.replace(victim));
    return true;
  }
}
