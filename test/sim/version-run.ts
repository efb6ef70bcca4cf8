// Versions of an app in virtual time: the shipped Controller with its versions, nodes and clients, while operators
// deploy what works, what is broken and what hangs, and go back, and everything fails.
//
// Invariant: a run depends on its seed alone. Requests of a client that renews its lease do not fail, whatever is
// deployed. Faults end after a while; then a rolling update, one that must be taken back and a rollback follow.
import { asJson, type PlanRecord, PLANS } from '../../src/ts/cluster/cluster-records.js';
import { markOf } from '../../src/ts/cluster/app-records.js';
import { APPS } from '../../src/ts/cluster/cluster-records.js';
import {
  NO_VERSIONS,
  readRelease,
  readVersions,
  type Release,
  RELEASES,
  versionApp,
  versionOf,
  VERSIONS,
  type VersionsRecord,
} from '../../src/ts/cluster/release-records.js';
import { rollbackTarget } from '../../src/ts/cluster/versions.js';
import { checkSpec, placeName, stagePlaces } from '../../src/ts/pipeline/index.js';
import type { Choices } from '../../src/ts/sim/choices.js';
import type { SimProcess } from '../../src/ts/sim/process.js';
import { SPEC } from '../cluster/reconcile-world.js';
import { catching } from './catching.js';
import { type SimAgent, SimNode, type SimPlace } from './cluster-parts.js';
import { type ClusterShape, clusterShapeOf } from './cluster-run.js';
import { recordOf } from './cluster-rules.js';
import { TroubledCluster } from './troubled-cluster.js';
import { SimClient, VERSIONED } from './version-client.js';
import { SCALE, VersionRules } from './version-rules.js';

export interface VersionVerdict {
  readonly broken: string[];
  readonly steps: number;
  readonly virtualMs: number;
  readonly faults: string[];
  readonly releases: number;
  readonly rolledBack: number;
  /** Decisions that the load has made. */
  readonly scalings: number;
  readonly requests: number;
  /** Of clients that renewed their lease. */
  readonly failedRequests: number;
  /** Of clients that could not renew: their gateway was taken for dead. */
  readonly failedOfLost: number;
  readonly leadersTogether: number;
  readonly plansBack: number;
  readonly placesTwice: number;
}

const FAULTS = ['cut', 'stop', 'kill', 'store', 'isolate', 'deploy', 'deploy', 'rollback', 'scale'] as const;
const READY_WITHIN_MS = 8000;
const SCALED = checkSpec({
  name: VERSIONED,
  stages: [
    { name: 'a', instances: 2, scale: SCALE },
    { name: 'b', after: ['a'] },
  ],
});
/** The wall clock of a run begins here: only the policy's time of the day looks at it. */
const BEGIN_MS = Date.UTC(2026, 0, 1, 12);

export interface VersionShape extends ClusterShape {
  /** Whether a stage is scaled by its load. */
  readonly scaled: boolean;
}
type Health = 'well' | 'broken' | 'hangs';

export class VersionRun extends TroubledCluster<VersionShape> {
  readonly rules = new VersionRules(this);
  readonly nodes: SimNode[] = [];
  readonly clients: SimClient[] = [];
  readonly counts = { requests: 0 };
  private readonly health = new Map<string, Health>();
  private release: Release | undefined;
  private releases = 0;

  healthOf(app: string, place: string): Health {
    const version = versionOf(app)?.version ?? '';
    return place.startsWith('a/') ? this.healthOfVersion(version) : 'well';
  }

  healthOfVersion(version: string): Health {
    return this.health.get(version) ?? 'well';
  }

  onBegin(app: string, place: SimPlace, process: SimProcess): void {
    this.rules.onBegin(app, place, process);
  }

  onEnd(app: string, place: SimPlace, record: PlanRecord | undefined): void {
    this.rules.onEnd(app, place, record);
  }

  // ---- What operators do; they write at once, and again what was forgotten

  get versions(): VersionsRecord {
    const entry = this.server.entries.get(VERSIONS + VERSIONED);
    return entry === undefined ? NO_VERSIONS : readVersions(entry);
  }

  protected publish(): void {
    // As deploy() numbers it: by what the store has.
    const entry = this.server.entries.get(RELEASES + VERSIONED);
    const number = Math.max(entry === undefined ? 0 : readRelease(entry).number, this.versions.release) + 1;
    this.release = { ...this.release!, number };
    for (const prefix of [APPS, VERSIONS, RELEASES]) this.write(markOf(prefix), true);
    this.write(RELEASES + VERSIONED, asJson(this.release));
  }

  private deploy(health: Health): string {
    const version = `v${++this.releases}`;
    this.health.set(version, health);
    const hash = this.releases.toString(16).padStart(64, '0');
    const code = { module: `/${version}.js`, hash, spec: this.shape.scaled ? SCALED : SPEC, sizes: {} as never };
    const { counts } = this.release ?? { counts: {} };
    this.release = { number: 0, kind: 'deploy', version, code, readyWithinMs: READY_WITHIN_MS, counts };
    this.publish();
    this.note(`${version}, which ${health === 'well' ? 'works' : health}, is deployed`);
    return version;
  }

  private rollback(): string | undefined {
    const { versions } = this;
    const version = rollbackTarget(versions);
    if (version === undefined || versions.codes[version] === undefined) return undefined;
    this.release = { ...this.release!, kind: 'rollback', version, code: versions.codes[version] };
    this.publish();
    this.note(`back to ${version}`);
    return version;
  }

  private scale(): void {
    // An operator's count of a stage ends that its load scales it.
    const stage = this.shape.scaled ? 'b' : 'ab'[this.choices.pick(2, 'fault')]!;
    const count = 1 + this.choices.pick(4, 'fault');
    this.note(`${stage} shall have ${count} instances`);
    this.release = { ...this.release!, counts: { ...this.release!.counts, [stage]: count } };
    this.write(RELEASES + VERSIONED, asJson(this.release));
  }

  // ---- The run

  protected get agents(): SimAgent[] {
    return [...this.nodes, ...this.clients];
  }

  async play(): Promise<VersionVerdict> {
    const { world, shape } = this;
    this.deploy('well');
    for (let i = 0; i < shape.nodes; i++) this.nodes.push(new SimNode(this, `node-${i}`));
    for (let i = 0; i < shape.gateways; i++) this.clients.push(new SimClient(this, `client-${i}`, this.counts));
    for (const agent of this.agents) agent.start();
    this.fault();
    await catching(world, async () => {
      await this.passes(shape.troubleMs);
      if (world.broken.length === 0) await this.after();
    });
    return this.verdict();
  }

  // What must go well once nothing fails any more.
  private async after(): Promise<void> {
    this.heal();
    await this.settles(this.deploy('well'));
    // What was lost before may still cost a lease.
    await this.passes(3 * this.shape.leaseMs);
    this.rules.isQuiet = true;
    const last = this.deploy('well');
    await this.settles(last);
    this.deploy(this.choices.chance(0.5, 'fault') ? 'broken' : 'hangs');
    await this.settles(last);
    const former = this.rollback();
    if (former === undefined) this.world.broken.push('there is no version to go back to');
    else await this.settles(former);
    await this.passes(this.shape.leaseMs);
  }

  private async passes(ms: number): Promise<void> {
    const { scheduler, broken } = this.world;
    const endMs = scheduler.nowMs + ms;
    await scheduler.run(() => broken.length > 0 || scheduler.nowMs >= endMs, endMs + 1e4);
  }

  private verdict(): VersionVerdict {
    const { world, faults, counts, rules, releases } = this;
    const { steps, nowMs: virtualMs } = world.scheduler;
    const { requests } = counts;
    return { broken: world.broken, steps, virtualMs, faults, releases, requests, ...rules.counts };
  }

  // The release has its outcome, and everything is in that version.
  private async settles(version: string): Promise<void> {
    const { world, shape } = this;
    const { scheduler } = world;
    if (world.broken.length > 0) return;
    const endMs = scheduler.nowMs + 14 * shape.leaseMs;
    let nextMs = 0;
    const isSettled = () => {
      if (world.broken.length > 0) return true;
      if (scheduler.nowMs < nextMs) return false;
      nextMs = scheduler.nowMs + 50;
      return this.unsettled(version) === undefined;
    };
    if (await scheduler.run(isSettled, endMs)) return;
    const words = `after ${14 * shape.leaseMs} ms: ${this.unsettled(version)}; ${this.state()}`;
    world.broken.push(words);
  }

  private unsettled(version: string): string | undefined {
    const leaders = this.nodes.filter(({ controller }) => controller?.isLeading === true);
    if (leaders.length !== 1) return `${leaders.length} leaders`;
    const { release, current, next, draining } = this.versions;
    if (release !== this.release!.number) return `release ${release}, not ${this.release!.number}`;
    if (next !== null) return `${next.version} is brought up`;
    if (current !== version) return `${current} is current, not ${version}`;
    if (draining.length > 0) return `${draining.join()} has requests`;
    const app = versionApp(VERSIONED, version);
    const record = recordOf(this.server.entries.get(PLANS + app));
    if (record?.plan === undefined || record.plan === null) return `${app} has no plan`;
    const { plan, olderPlans, assignments } = record;
    if (olderPlans.length > 0) return `${app} has plans before ${plan.number}`;
    for (const { name, active, gates } of this.clients) {
      const gate = gates.get(version);
      if (active !== version || gates.size > 1) return `${name} is at ${active}, and has ${[...gates.keys()].join()}`;
      const plans = gate!.plans.map(({ number }) => number).join();
      if (plans !== String(plan.number)) return `${name} is under ${plans}, not under ${plan.number}`;
    }
    const wanted = new Set(stagePlaces(plan).map((id) => placeName(SPEC, id)));
    for (const { name, hosts } of this.nodes)
      for (const { app: below, places } of hosts)
        for (const place of places.values()) {
          if (below.name !== app) return `${name} runs ${place.name} of ${below.name}`;
          const { node, epoch } = assignments[place.name] ?? {};
          if (node !== name || epoch !== place.epoch || !wanted.delete(place.name))
            return `${name} runs ${place.name} of epoch ${place.epoch}, which is at ${node}`;
        }
    return wanted.size === 0 ? undefined : `${[...wanted].join()} does not run`;
  }

  // What there is, for people.
  private state(): string {
    const clients = this.clients.map(({ name, active, gates }) => {
      const all = [...gates].map(
        ([version, { plans, isReady }]) => `${version}${isReady ? '' : '?'} under ${plans.map(({ number }) => number)}`,
      );
      return `${name} at ${active}: ${all.join(', ')}`;
    });
    const { codes: _, ...versions } = this.versions;
    const plans = [...this.server.entries].flatMap(([key, entry]) =>
      key.startsWith(PLANS) ? [`${key} ${JSON.stringify(recordOf(entry))}`] : [],
    );
    return [...clients, JSON.stringify(versions), ...plans].join('; ');
  }

  // ---- Faults

  protected strike(): void {
    const { choices, agents } = this;
    const fault = FAULTS[choices.pick(FAULTS.length, 'fault')]!;
    const forMs = choices.delay(50, 7000);
    const agent = agents[choices.pick(agents.length, 'fault')]!;
    if (fault === 'deploy') this.deploy((['well', 'well', 'broken', 'hangs'] as const)[choices.pick(4, 'fault')]!);
    else if (fault === 'rollback') this.rollback();
    else if (fault === 'scale') this.scale();
    else this.strikeCommon(fault, agent, forMs);
  }
}

/** The shape of a seed's run. */
export function versionShapeOf(seed: number): VersionShape {
  return { ...clusterShapeOf(seed), scaled: seed % 3 === 0 };
}

/** Plays one run. */
export async function playVersions(choices: Choices, shape: VersionShape): Promise<VersionVerdict> {
  const run = new VersionRun(choices, shape);
  const { now } = Date;
  Date.now = () => BEGIN_MS + Math.floor(run.world.scheduler.nowMs);
  try {
    return await run.play();
  } finally {
    Date.now = now;
  }
}
