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
import { bytesOf } from '../../src/ts/control/store.js';
import { placeName, stagePlaces } from '../../src/ts/pipeline/index.js';
import type { Choices } from '../../src/ts/sim/choices.js';
import type { SimProcess } from '../../src/ts/sim/process.js';
import { SimWorld } from '../../src/ts/sim/world.js';
import { SPEC } from '../cluster/reconcile-world.js';
import { catching } from './catching.js';
import { APP, type SimAgent, type SimCluster, SimGateway, SimNode, type SimPlace } from './cluster-parts.js';
import { ClusterRules, recordOf } from './cluster-rules.js';
import { SimControlServer, type StoreTrouble } from './control-store.js';

export interface ClusterShape {
  readonly nodes: number;
  readonly gateways: number;
  readonly leaseMs: number;
  readonly troubleMs: number;
  readonly forgets: boolean;
  readonly trouble: StoreTrouble;
  readonly faultMs: number;
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

export class ClusterRun implements SimCluster {
  readonly world: SimWorld;
  readonly server: SimControlServer;
  readonly rules: ClusterRules;
  readonly trouble: StoreTrouble;
  readonly faults: string[] = [];
  nodes: SimNode[] = [];
  gateways: SimGateway[] = [];
  private wanted: Record<string, number> = { a: 2, b: 1 };
  private readonly brokenPlaces = new Set<string>();
  private readonly draining = new Set<string>();

  constructor(
    readonly choices: Choices,
    readonly shape: ClusterShape,
  ) {
    this.trouble = { ...shape.trouble };
    const options = { copier: 'process', tearShare: 0, weakOrder: false, pollBatch: 1, oneWriter: true } as const;
    this.world = new SimWorld(choices, options);
    this.server = new SimControlServer(this.world);
    this.rules = new ClusterRules(this);
  }

  fraction(): number {
    return this.choices.pick(2 ** 20, 'fault') / 2 ** 20;
  }

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

  /** What real ones go through, too. */
  failed(error: unknown): void {
    const { code } = error as { code?: string };
    if (!/^RDMA_ERR_(CONFLICT|TIMEOUT|PEER_GONE)$/.test(String(code))) this.world.caught(error);
  }

  private get agents(): SimAgent[] {
    return [...this.nodes, ...this.gateways];
  }

  private deploy(): void {
    const { wanted } = this;
    const code = { module: '/clip.js', hash: 'a'.repeat(64), spec: SPEC, sizes: {} as never };
    // Counts are said by an operator, also of the stage that could be scaled by its load.
    const app: App = { name: APP, ...code, wanted, fixed: ['b'] };
    this.write(APPS + APP, asJson(app));
  }

  // What operators have written is not forgotten here: they would do it again.
  private write(key: string, value: Parameters<typeof bytesOf>[0] | undefined): void {
    this.server.write(key, value === undefined ? undefined : bytesOf(value), undefined, this.server.nowMs);
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

  private note(words: string): void {
    this.faults.push(`${this.world.scheduler.nowMs.toFixed(0)} ms: ${words}`);
  }

  private later(ms: number, call: () => void): void {
    this.world.scheduler.add(ms, undefined, false, call);
  }

  private fault(): void {
    this.later(-Math.log(1 - this.fraction()) * this.shape.faultMs, () => {
      if (this.world.scheduler.nowMs >= this.shape.troubleMs) return;
      const { choices, agents, nodes } = this;
      const forMs = choices.delay(50, 7000);
      const kind = FAULTS[choices.pick(FAULTS.length, 'fault')]!;
      const agent = agents[choices.pick(agents.length, 'fault')]!;
      const node = nodes[choices.pick(nodes.length, 'fault')]!;
      this.strike(kind, agent, node, forMs);
      this.fault();
    });
  }

  private strike(kind: (typeof FAULTS)[number], agent: SimAgent, node: SimNode, forMs: number): void {
    const { server, choices, shape } = this;
    const words = (what: string) => this.note(`${what} for ${forMs.toFixed(0)} ms`);
    if (kind === 'cut' || kind === 'isolate') {
      // Partitioned: one of them, or all but one.
      const cut = kind === 'cut' ? [agent] : this.agents.filter((other) => other !== agent);
      words(`${cut.map(({ name }) => name).join(', ')} cut off`);
      const { store } = agent;
      const stores = kind === 'cut' ? [store] : cut.map((other) => other.store);
      for (const each of stores) each.cut(true);
      this.later(forMs, () => {
        for (const each of stores) each.cut(false);
      });
    } else if (kind === 'stop') {
      words(`${agent.name} is stopped`);
      const { process } = agent;
      process.stop();
      this.later(forMs, () => process.continue());
    } else if (kind === 'kill') {
      if (agent.process.state === 'dead') return;
      words(`${agent.name} is dead`);
      agent.crash();
      this.later(forMs, () => {
        if (agent.process.state === 'dead') agent.start();
      });
    } else if (kind === 'store') {
      if (server.isDown) return;
      const forgetMs = shape.forgets && choices.chance(0.6, 'fault') ? choices.delay(0, 6000) : 0;
      words(`the server, which forgets ${forgetMs.toFixed(0)} ms, is away`);
      server.die(forgetMs);
      this.later(forMs / 2, () => server.isDown && this.rise());
    } else if (kind === 'scale') {
      const stage = 'ab'[choices.pick(2, 'fault')]!;
      const count = 1 + choices.pick(4, 'fault');
      this.note(`${stage} shall have ${count} instances`);
      this.wanted = { ...this.wanted, [stage]: count };
      this.deploy();
    } else if (kind === 'drain') {
      const isDraining = !this.draining.has(node.name) && this.draining.size + 1 < this.nodes.length;
      this.note(`${node.name} is ${isDraining ? 'being drained' : 'to have places again'}`);
      if (isDraining) this.draining.add(node.name);
      else this.draining.delete(node.name);
      this.writeDrains();
    } else {
      const place = `a/${1 + choices.pick(4, 'fault')}`;
      words(`${place} will not work`);
      this.brokenPlaces.add(place);
      this.lookAtPlaces();
      this.later(forMs, () => {
        this.brokenPlaces.delete(place);
        this.lookAtPlaces();
      });
    }
  }

  private lookAtPlaces(): void {
    for (const node of this.nodes) node.process.later(0, () => node.onPlaces());
  }

  private writeDrains(): void {
    for (const { name } of this.nodes) this.write(DRAINS + name, this.draining.has(name) ? true : undefined);
  }

  private rise(): void {
    this.server.rise();
    if (!this.server.hasForgotten) return;
    this.deploy();
    this.writeDrains();
  }

  private heal(): void {
    this.note('all is well again');
    Object.assign(this.trouble, { late: 0, lost: 0, answerLost: 0 });
    this.brokenPlaces.clear();
    this.lookAtPlaces();
    if (this.server.isDown) this.rise();
    for (const agent of this.agents) {
      agent.process.continue();
      if (agent.process.state === 'dead') agent.start();
      agent.store.cut(false);
    }
  }
}

/** Plays one run. */
export function playCluster(choices: Choices, shape: ClusterShape): Promise<ClusterVerdict> {
  return new ClusterRun(choices, shape).play();
}
