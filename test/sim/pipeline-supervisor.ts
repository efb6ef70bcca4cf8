// The supervisor of a simulated pipeline: it knows which process is in which place, replaces what dies, and changes
// plans.
//
// Invariant: it does what a real supervisor does, in the order that the pipeline asks for: gateways admit under a plan
// after all its places have adopted it, and places let go of a plan after all gateways have. It never dies, and it
// learns of a death at once.
import { Blame } from '../../src/ts/cluster/blame.js';
import {
  makePlan,
  type PlaceId,
  type Plan,
  placeName,
  type RequestAttempt,
  stagePlaces,
  type PlaceAddress,
} from '../../src/ts/pipeline/index.js';
import { RdmaError } from '../../src/ts/core/errors.js';
import { PlaceProcess, type Surroundings } from './pipeline-place.js';

/** How long it takes until a process that has died has a successor, in ms. */
const REPLACE_MS = { low: 0.1, high: 500 };
/** How long it takes until the supervisor looks at what has changed. */
const LOOK_MS = { low: 0.01, high: 2 };
/** How often it asks a place that leaves whether it has something to do yet. */
const LEAVE_MS = 20;

/** A place, whoever is in it. */
interface Slot {
  readonly id: PlaceId;
  readonly name: string;
  current: PlaceProcess | undefined;
  /** A successor is about to be started. */
  starting: boolean;
  /** No process will be started here any more. */
  gone: boolean;
}

/** The change from one plan to the next. */
interface Change {
  readonly from: Plan;
  readonly to: Plan;
  /** A place that is given up. */
  readonly lost: PlaceId | undefined;
  step: 'places' | 'gateways' | 'requests' | 'done';
}

export class Supervisor {
  readonly slots = new Map<string, Slot>();
  private readonly incarnations = new Map<string, number>(); // the last one in each place that there ever was
  /** Called when a gateway has a new process. */
  onGateway: ((gateway: PlaceProcess) => void) | undefined;
  plan: Plan;
  private readonly around: Surroundings;
  private plans: Plan[]; // that places work under, the oldest first
  private active: Plan; // under which gateways admit
  private change: Change | undefined;
  private lookDue = false;

  private readonly blame = new Blame({
    isUnderWay: (request) => this.gatewayOf(request)?.gateway?.isUnderWay(request) ?? false,
    countTry: (request) => this.gatewayOf(request)?.gateway?.countTry(request) ?? 0,
    failRequest: (request, reason) => {
      const found = this.gatewayOf(request);
      found?.process.later(0, () => found.gateway?.failRequest(request, reason));
    },
  });

  constructor(around: Omit<Surroundings, 'resolve' | 'changed' | 'blame'>) {
    const { graph, shape } = around;
    const { blame } = this;
    this.around = { ...around, blame, resolve: (target) => this.resolve(target), changed: () => this.look() };
    const gateways = Array.from({ length: shape.gateways }, (_, i) => i);
    this.plan = makePlan(graph.spec, 1, undefined, gateways);
    this.plans = [this.plan];
    this.active = this.plan;
  }

  start(): void {
    this.startMissing();
  }

  private resolve(target: string): PlaceAddress {
    const address = this.slots.get(target)?.current?.address;
    if (address === undefined) throw new RdmaError('RDMA_ERR_PEER_GONE', `${target} has no process`);
    return address;
  }

  /** The processes that have their places. */
  *processes(): Iterable<PlaceProcess> {
    for (const { current } of this.slots.values()) if (current !== undefined) yield current;
  }

  // The process that has admitted a request; undefined: it has ended, or another one has its place.
  private gatewayOf({ gateway, gatewayRun }: RequestAttempt): PlaceProcess | undefined {
    for (const each of this.processes()) {
      const isIt = each.id.stage < 0 && each.id.instance === gateway && each.incarnation === gatewayRun;
      if (isIt && each.process.state !== 'dead' && !each.closed) return each;
    }
    return undefined;
  }

  // A process is gone, or is going to be: what it ran is looked at before the next one starts.
  private judge({ id, process, board }: PlaceProcess): void {
    const tasks = board?.read() ?? [];
    if (tasks.length === 0 || process.state === 'running') return;
    const { name: stage, attempts } = this.around.graph.spec.stages[id.stage]!;
    const verdict = { kind: 'hang', words: 'it was stopped', task: undefined } as const;
    const isDead = process.state === 'dead';
    this.blame.died({ stage, attempts, tasks, verdict: isDead ? undefined : verdict, reason: process.name });
    for (const each of this.processes()) if (each.id.stage === id.stage) each.suspect(this.blame.suspects);
  }

  // ---- Places

  private startMissing(): void {
    const wanted = this.plans.flatMap(stagePlaces);
    for (const instance of this.plan.gateways) wanted.push({ stage: -1, instance });
    for (const id of wanted) {
      const name = placeName(this.around.graph.spec, id);
      let slot = this.slots.get(name);
      if (slot === undefined) {
        slot = { id, name, current: undefined, starting: false, gone: false };
        this.slots.set(name, slot);
      }
      if (slot.current === undefined && !slot.starting && !slot.gone) this.startIn(slot);
    }
  }

  private startIn(slot: Slot): void {
    slot.starting = false;
    const plans = slot.id.stage < 0 ? [this.active] : this.plans;
    const incarnation = (this.incarnations.get(slot.name) ?? 0) + 1;
    this.incarnations.set(slot.name, incarnation);
    // Gateways give a place up when they have adopted the plan without it.
    const lost = slot.id.stage < 0 ? undefined : this.change?.lost;
    slot.current = new PlaceProcess(this.around, slot.id, incarnation, plans, lost);
    if (slot.id.stage < 0) this.onGateway?.(slot.current);
  }

  /** A process has died, or is going to be without its place: another one gets it. */
  replace(process: PlaceProcess): void {
    const slot = this.slots.get(process.name)!;
    if (slot.current !== process) return;
    this.judge(process);
    process.replaced = true;
    slot.current = undefined;
    slot.starting = true;
    const { world } = this.around;
    const { low, high } = REPLACE_MS;
    world.scheduler.add(world.choices.delay(low, high), undefined, true, () => {
      slot.starting = false;
      if (slot.gone) return;
      if (this.isWanted(slot.id)) this.startIn(slot);
      else this.slots.delete(slot.name);
      this.look();
    });
  }

  private isWanted({ stage, instance }: PlaceId): boolean {
    return stage < 0 || this.plans.some(({ instances }) => instances[stage]!.includes(instance));
  }

  // ---- Plans

  get isChanging(): boolean {
    return this.change !== undefined;
  }

  /** One instance more of a stage; false when another change is under way. */
  scaleUp(stage: number): boolean {
    const list = this.plan.instances[stage]!;
    return this.begin(stage, [...list, Math.max(...list) + 1], undefined);
  }

  /** One instance less; false when it has one, or another change is under way. */
  scaleDown(stage: number, instance: number): boolean {
    const list = this.plan.instances[stage]!;
    return (
      list.length > 1 &&
      this.begin(
        stage,
        list.filter((each) => each !== instance),
        undefined,
      )
    );
  }

  /** An instance dies for good; false when it has to stay, or another change is under way. */
  giveUp(stage: number, instance: number): boolean {
    const list = this.plan.instances[stage]!;
    if (list.length === 1) return false;
    const lost = { stage, instance };
    return this.begin(
      stage,
      list.filter((each) => each !== instance),
      lost,
    );
  }

  private begin(stage: number, list: readonly number[], lost: PlaceId | undefined): boolean {
    if (this.change !== undefined) return false;
    const { spec } = this.around.graph;
    const from = this.plan;
    const instances = from.instances.map((each, i) => (i === stage ? list : each));
    this.plan = makePlan(spec, from.number + 1, instances, from.gateways);
    this.plans = [from, this.plan];
    this.change = { from, to: this.plan, lost, step: 'places' };
    if (lost !== undefined) {
      const slot = this.slots.get(placeName(spec, lost))!;
      slot.gone = true;
      slot.current?.process.crash();
      slot.current = undefined;
    }
    this.startMissing();
    this.look();
    return true;
  }

  /** Looks soon at what has changed. */
  look(inMs = 0): void {
    if (this.lookDue) return;
    this.lookDue = true;
    const { world } = this.around;
    world.scheduler.add(inMs + world.choices.delay(LOOK_MS.low, LOOK_MS.high), undefined, true, () => {
      this.lookDue = false;
      this.advance();
    });
  }

  // Asks every process in a place for its part of the present step, and goes on when all have done it.
  private advance(): void {
    for (;;) {
      const { change } = this;
      if (change === undefined || !this.isStepDone(change)) return;
      if (change.step === 'places') change.step = 'gateways';
      else if (change.step === 'gateways') {
        change.step = 'requests';
        this.active = change.to;
      } else if (change.step === 'requests') {
        change.step = 'done';
        this.plans = [change.to];
      } else {
        this.change = undefined;
        for (const { name, gone } of [...this.slots.values()]) if (gone) this.slots.delete(name);
      }
    }
  }

  private isStepDone({ step, from, to, lost }: Change): boolean {
    let done = true;
    for (const { id, name, current, gone } of this.slots.values()) {
      if (gone) continue;
      const isGateway = id.stage < 0;
      if (current?.address === undefined) {
        done = false;
        continue;
      }
      if (step === 'places' && !isGateway) {
        if (lost !== undefined) current.giveUp(lost);
        current.adopt(to);
        done &&= current.adopted.has(to.number) && current.connected;
      } else if (step === 'gateways' && isGateway) {
        current.adopt(to);
        done &&= current.adopted.has(to.number);
      } else if (step === 'requests' && isGateway) {
        if (lost !== undefined) current.giveUp(lost);
        if (!current.adopted.has(from.number)) continue;
        current.retire(from);
        done &&= current.retired.has(from.number);
      } else if (step === 'done' && !isGateway) {
        done = this.letGo(current, from) && done;
        if (current.closed && current.process.state === 'dead') this.slots.delete(name);
      }
    }
    return done;
  }

  // A place lets go of the older plan; one that the newer plan does not have ends when it has nothing to do.
  private letGo(current: PlaceProcess, from: Plan): boolean {
    if (current.adopted.has(from.number) && !current.retired.has(from.number)) {
      current.retire(from);
      return false;
    }
    if (this.isWanted(current.id)) return true;
    if (current.leftover === undefined) current.close();
    else this.look(LEAVE_MS);
    return current.closed && current.process.state === 'dead';
  }

  /** What is left to do, in words; undefined: nothing. */
  get leftover(): string | undefined {
    if (this.change !== undefined) return `plan ${this.change.to.number} waits for ${this.change.step}`;
    if (this.lookDue) return 'the supervisor has not looked yet';
    for (const { name, current, starting, gone } of this.slots.values()) {
      if (gone) continue;
      if (current === undefined || starting) return `${name} has no process`;
      if (current.process.state !== 'running') return `${current.process.name} is ${current.process.state}`;
      const { leftover } = current;
      if (leftover !== undefined) return leftover;
    }
    return undefined;
  }
}
