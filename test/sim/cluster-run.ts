// A whole cluster in virtual time: the shipped Controller, NodeManager, reconcile, elections and members over a store
// that fails in every way, with places that only count.
//
// Invariant: a run depends on its seed alone. Faults end after a while, and then all must come to one plan that is
// wanted, soon, and stay there.
import {
  type App,
  APPS,
  asJson,
  DRAINS,
  type PlanRecord,
  PLANS,
  readReport,
  REPORTS,
} from '../../src/ts/cluster/cluster-records.js';
import { placeName, stagePlaces } from '../../src/ts/pipeline/index.js';
import type { Choices } from '../../src/ts/sim/choices.js';
import type { SimProcess } from '../../src/ts/sim/process.js';
import { SPEC } from '../cluster/reconcile-world.js';
import { catching } from './catching.js';
import { APP, type SimAgent, SimGateway, SimNode, type SimPlace } from './cluster-parts.js';
import { ClusterRules, recordOf } from './cluster-rules.js';
import { TroubledCluster, type TroubledShape } from './troubled-cluster.js';

export interface ClusterShape extends TroubledShape {
  readonly nodes: number;
  readonly gateways: number;
}

export interface ClusterVerdict {
  readonly broken: string[];
  readonly steps: number;
  readonly virtualMs: number;
  readonly faults: string[];
  /** Writes of the plan. */
  readonly plans: number;
  /** From the end of the faults until all was as wanted, in ms. */
  readonly settledMs: number;
  /** Steps at which two leaders acted. */
  readonly leadersTogether: number;
  readonly plansBack: number;
  /** Places that two processes had under one epoch. */
  readonly placesTwice: number;
}

/** The shape of a seed's run. */
export function clusterShapeOf(seed: number): ClusterShape {
  const part = (n: number, by: number) => Math.floor(seed / by) % n;
  return {
    nodes: 2 + part(3, 1),
    gateways: 1 + part(2, 3),
    leaseMs: 3000,
    troubleMs: 20_000,
    forgets: part(3, 4) === 2,
    trouble: {
      late: [0, 0.02, 0.08][part(3, 8)]!,
      lost: [0, 0.02][part(2, 3)]!,
      answerLost: [0, 0.02, 0.08][part(3, 5)]!,
    },
    faultMs: [700, 1500, 4000][part(3, 7)]!,
  };
}

const FAULTS = ['cut', 'stop', 'kill', 'store', 'scale', 'drain', 'break', 'isolate'] as const;

export class ClusterRun extends TroubledCluster<ClusterShape> {
  readonly rules = new ClusterRules(this);
  nodes: SimNode[] = [];
  gateways: SimGateway[] = [];
  private wanted: Record<string, number> = { a: 2, b: 1 };
  private readonly brokenPlaces = new Set<string>();
  private readonly draining = new Set<string>();

  broken(words: string): void {
    this.world.broken.push(words);
  }

  healthOf(_app: string, place: string): 'well' | 'broken' {
    return this.brokenPlaces.has(place) ? 'broken' : 'well';
  }

  onBegin(_app: string, place: SimPlace, process: SimProcess): void {
    this.rules.onBegin(place, process);
  }

  onEnd(_app: string, place: SimPlace, record: PlanRecord | undefined): void {
    this.rules.onEnd(place, record);
  }

  protected get agents(): SimAgent[] {
    return [...this.nodes, ...this.gateways];
  }

  private deploy(): void {
    const { wanted } = this;
    const app: App = { name: APP, module: '/clip.js', hash: 'a'.repeat(64), spec: SPEC, sizes: {} as never, wanted };
    this.write(APPS + APP, asJson(app));
  }

  async play(): Promise<ClusterVerdict> {
    const { world, shape } = this;
    const { scheduler } = world;
    this.deploy();
    for (let i = 0; i < shape.nodes; i++) this.nodes.push(new SimNode(this, `node-${i}`));
    for (let i = 0; i < shape.gateways; i++) this.gateways.push(new SimGateway(this, i));
    for (const agent of this.agents) agent.start();
    this.fault();
    let settledMs = 0;
    await catching(world, async () => {
      const isOver = (untilMs: number) => () => world.broken.length > 0 || scheduler.nowMs >= untilMs;
      await scheduler.run(isOver(shape.troubleMs), shape.troubleMs + 1e4);
      if (world.broken.length > 0) return;
      this.heal();
      const healedMs = scheduler.nowMs;
      const endMs = healedMs + 14 * shape.leaseMs;
      let nextMs = healedMs;
      const isSettled = () => {
        if (world.broken.length > 0) return true;
        if (scheduler.nowMs < nextMs) return false;
        nextMs = scheduler.nowMs + 50;
        return this.unsettled() === undefined;
      };
      const untilSettled = async () => {
        if (!(await scheduler.run(isSettled, endMs)))
          this.broken(`${endMs - healedMs} ms after the last fault: ${this.unsettled()}; ${this.state()}`);
      };
      await untilSettled();
      settledMs = scheduler.nowMs - healedMs;
      // What was lost before may still cost a lease. Then it stays so.
      const restMs = healedMs + 3 * shape.leaseMs;
      await scheduler.run(isOver(restMs), restMs + 1e4);
      await untilSettled();
      const { plans } = this.rules;
      const quietMs = scheduler.nowMs + 2 * shape.leaseMs;
      await scheduler.run(isOver(quietMs), quietMs + 1e4);
      const why = this.unsettled();
      if (world.broken.length === 0 && why !== undefined) this.broken(`all was well, and then: ${why}`);
      if (world.broken.length === 0 && this.rules.plans !== plans)
        this.broken('plans were made though nothing happened');
    });
    const { steps, nowMs } = scheduler;
    return {
      broken: world.broken,
      steps,
      virtualMs: nowMs,
      faults: this.faults,
      plans: this.rules.plans,
      settledMs,
      ...this.rules.counts,
    };
  }

  /** What is not as it is wanted; undefined: all is. */
  private unsettled(): string | undefined {
    const leaders = this.nodes.filter(({ controller }) => controller?.isLeading === true);
    if (leaders.length !== 1) return `${leaders.length} leaders`;
    const record = recordOf(this.server.entries.get(PLANS + APP));
    if (record?.plan === undefined || record.plan === null) return 'there is no plan';
    const { plan, olderPlans, assignments, unplaced, refused } = record;
    if (olderPlans.length > 0) return `plan ${plan.number} has ${olderPlans.length} before it`;
    if (unplaced.length > 0) return unplaced.join('; ');
    const counts = plan.instances.map((list) => list.length).join();
    const wanted = SPEC.stages.map(({ name }) => this.wanted[name]).join();
    if (refused === null && counts !== wanted) return `${counts} instances, not ${wanted}`;
    if (plan.gateways.length !== this.gateways.length) return `gateways ${plan.gateways} of ${this.gateways.length}`;
    for (const { name, plans } of this.gateways)
      if (plans.map(({ number }) => number).join() !== String(plan.number)) {
        return `${name} is under ${plans.map(({ number }) => number)}, not under ${plan.number}`;
      }
    const runs = new Map<string, string>();
    for (const { name, places } of this.nodes)
      for (const { name: place, epoch, plans } of places) {
        const words = `${place} of epoch ${epoch} on ${name}`;
        if (runs.has(place)) return `${words}, and ${runs.get(place)}`;
        if (assignments[place]?.epoch !== epoch || assignments[place]?.node !== name) return `${words} is not assigned`;
        if (this.draining.has(name)) return `${words}, which is being drained`;
        if (!plans.has(plan.number)) return `${words} does not work under plan ${plan.number}`;
        runs.set(place, words);
      }
    const names = stagePlaces(plan).map((id) => placeName(SPEC, id));
    const missing = names.find((name) => !runs.has(name));
    return missing === undefined ? undefined : `${missing} does not run`;
  }

  /** What there is, for people. */
  private state(): string {
    const gateways = this.gateways.map(({ name, plans }) => `${name} is under ${plans.map(({ number }) => number)}`);
    const places = this.nodes.map(({ name, places }) =>
      [name, ...places.map((each) => `${each.name} of ${each.epoch} under ${[...each.plans]}`)].join(' '),
    );
    const record = recordOf(this.server.entries.get(PLANS + APP));
    const reports = [...this.server.entries].flatMap(([key, entry]) =>
      key.startsWith(REPORTS) ? [`${key} ${JSON.stringify(readReport(entry))}`] : [],
    );
    return [...gateways, ...places, JSON.stringify(record), ...reports].join('; ');
  }

  protected strike(): void {
    const { choices, agents, nodes } = this;
    const forMs = choices.delay(50, 7000);
    const fault = FAULTS[choices.pick(FAULTS.length, 'fault')]!;
    const agent = agents[choices.pick(agents.length, 'fault')]!;
    const node = nodes[choices.pick(nodes.length, 'fault')]!;
    if (fault === 'scale') {
      const stage = 'ab'[choices.pick(2, 'fault')]!;
      const count = 1 + choices.pick(4, 'fault');
      this.note(`${stage} shall have ${count} instances`);
      this.wanted = { ...this.wanted, [stage]: count };
      this.deploy();
    } else if (fault === 'drain') {
      const isDraining = !this.draining.has(node.name) && this.draining.size + 1 < this.nodes.length;
      this.note(`${node.name} is ${isDraining ? 'being drained' : 'to have places again'}`);
      if (isDraining) this.draining.add(node.name);
      else this.draining.delete(node.name);
      this.writeDrains();
    } else if (fault === 'break') {
      const place = `a/${1 + choices.pick(4, 'fault')}`;
      this.note(`${place} will not work for ${forMs.toFixed(0)} ms`);
      this.brokenPlaces.add(place);
      this.lookAtPlaces();
      this.later(forMs, () => {
        this.brokenPlaces.delete(place);
        this.lookAtPlaces();
      });
    } else this.strikeCommon(fault, agent, forMs);
  }

  private lookAtPlaces(): void {
    for (const node of this.nodes) node.process.later(0, () => node.onPlaces());
  }

  private writeDrains(): void {
    for (const { name } of this.nodes) this.write(DRAINS + name, this.draining.has(name) ? true : undefined);
  }

  protected publish(): void {
    this.deploy();
    this.writeDrains();
  }

  protected override heal(): void {
    this.brokenPlaces.clear();
    this.lookAtPlaces();
    super.heal();
  }
}

/** Plays one run. */
export function playCluster(choices: Choices, shape: ClusterShape): Promise<ClusterVerdict> {
  return new ClusterRun(choices, shape).play();
}
