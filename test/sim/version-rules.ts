// What must never happen to versions, seen from outside: by what the store has applied, what runs, and which requests
// are under way.
//
// Invariant: nothing here asks the code under test what it believes about others. A store that has forgotten may bring
// back what was: then only what comes after the faults counts.
import { isDeepStrictEqual } from 'node:util';
import { type PlanRecord, PLANS, SCALES } from '../../src/ts/cluster/cluster-records.js';
import { NO_VERSIONS, readVersions, VERSIONS } from '../../src/ts/cluster/release-records.js';
import { readFenced } from '../../src/ts/control/fenced.js';
import type { Entry } from '../../src/ts/control/store.js';
import type { SimProcess } from '../../src/ts/sim/process.js';
import type { SimPlace } from './cluster-parts.js';
import { recordOf } from './cluster-rules.js';
import type { Applied } from './control-store.js';
import { VERSIONED } from './version-client.js';
import type { SimRequest } from './version-gate.js';
import type { VersionRun } from './version-run.js';

/** How stage `a` is scaled, where it is. */
export const SCALE = {
  min: 1,
  max: 4,
  sloMs: 1500,
  loadMs: 700,
  evidence: 4,
  downAfterMs: 3000,
  zeroAfterMs: 3000,
  confirmMs: 4000,
} as const;

type Wanted = Readonly<Record<string, { readonly to: number }>>;

export class VersionRules {
  /** No fault is under way, and all leases are renewed: nothing is excused. */
  isQuiet = false;
  readonly counts = {
    rolledBack: 0,
    scalings: 0,
    failedRequests: 0,
    failedOfLost: 0,
    leadersTogether: 0,
    plansBack: 0,
    placesTwice: 0,
  };
  /** What runs in a place of an epoch. A version that comes back after its end may begin with the same epochs. */
  private readonly running = new Map<string, { place: SimPlace; process: SimProcess }>();
  private readonly failed = new WeakSet<SimRequest>();

  constructor(private readonly run: VersionRun) {
    run.server.onApply = (applied) => this.onApply(applied);
    run.world.onStep = () => this.onStep();
  }

  private broken(words: string): void {
    this.run.world.broken.push(words);
  }

  private onStep(): void {
    const leaders = this.run.nodes.filter(
      ({ process, controller }) => process.state === 'running' && controller?.isLeading === true,
    );
    if (leaders.length < 2) return;
    this.counts.leadersTogether++;
    this.broken(`two leaders act: ${leaders.map(({ name }) => name).join(' and ')}`);
  }

  private onApply({ key, before, after }: Applied): void {
    if (key.startsWith(PLANS)) this.onPlan(key, recordOf(before), recordOf(after));
    if (key.startsWith(SCALES) && after !== undefined) this.onScales(wantedOf(before), wantedOf(after));
    if (key === VERSIONS + VERSIONED) this.onVersions(before, after);
  }

  private onPlan(key: string, old: PlanRecord | undefined, now: PlanRecord | undefined): void {
    if (old?.plan === undefined || old.plan === null || now === undefined || this.run.server.hasForgotten) return;
    const number = now.plan?.number ?? 0;
    const isBack = number < old.plan.number || now.lastEpoch < old.lastEpoch;
    if (!isBack && (number > old.plan.number || isDeepStrictEqual(now.plan, old.plan))) return;
    this.counts.plansBack++;
    this.broken(`${key}: plan ${old.plan.number} went back to ${number}, or was changed`);
  }

  private onScales(before: Wanted, after: Wanted): void {
    const { min, max } = SCALE;
    for (const [stage, { to }] of Object.entries(after)) {
      if (to < min || to > max) this.broken(`${to} instances of ${stage} are wanted, not ${min} to ${max}`);
      if (before[stage] !== undefined && before[stage].to !== to) this.counts.scalings++;
    }
  }

  private onVersions(before: Entry | undefined, after: Entry | undefined): void {
    const old = before === undefined ? NO_VERSIONS : readVersions(before);
    const now = after === undefined ? NO_VERSIONS : readVersions(after);
    if (after === undefined && before !== undefined)
      this.broken('the versions are gone, and nobody has removed the app');
    if (now.release < old.release) this.broken(`release ${old.release} went back to ${now.release}`);
    const newest = now.outcomes.at(-1);
    if (newest !== undefined && !isDeepStrictEqual(newest, old.outcomes.at(-1)) && newest.type === 'rolled-back')
      this.counts.rolledBack++;
    if (now.current === old.current || now.current === null) {
      if (now.current === null && old.current !== null) this.broken(`${old.current} was current, and nothing is`);
      return;
    }
    // Where nobody was connected, or nothing has run, a version is current without a trial.
    const isTried = now.outcomes.every(({ version, reason }) => version !== now.current || reason === null);
    const health = this.run.healthOfVersion(now.current);
    if (health !== 'well' && old.current !== null && isTried && !this.run.server.hasForgotten)
      this.broken(`${now.current}, which ${health}, became current after ${old.current}`);
  }

  /** A process of a place begins. */
  onBegin(app: string, place: SimPlace, process: SimProcess): void {
    const key = keyOf(app, place);
    const before = this.running.get(key)?.process;
    this.running.set(key, { place, process });
    if (before === undefined || before === process || before.state === 'dead' || this.run.server.hasForgotten) return;
    this.counts.placesTwice++;
    this.broken(`${key} runs twice: in ${before.name}, and in ${process.name}`);
  }

  /** A process of a place ends, as no plan has it any more, or its version is gone. */
  onEnd(app: string, place: SimPlace, record: PlanRecord | undefined): void {
    const { name, epoch } = place;
    if (this.running.get(keyOf(app, place))?.place === place) this.running.delete(keyOf(app, place));
    if (record?.assignments[name]?.epoch !== undefined) return; // it goes on elsewhere, under its name
    for (const { name: who, gates, process } of this.run.clients)
      for (const gate of gates.values()) {
        if (gate.app !== app || process.state === 'dead') continue;
        for (const request of gate.requests) {
          if (!request.route.includes(name) || this.failed.has(request)) continue;
          const then = gate.adopted.get(request.plan.number);
          if (then?.assignments[name]?.epoch !== epoch) continue; // it was elsewhere by then
          this.failed.add(request);
          const incarnation = gate.membership?.incarnation;
          const isLost = process.state === 'stopped' || incarnation === undefined || incarnation !== then.incarnation;
          if (!this.isQuiet && (isLost || this.run.server.hasForgotten)) this.counts.failedOfLost++;
          else {
            this.counts.failedRequests++;
            this.broken(`a request of ${who} under plan ${request.plan.number} of ${app} has lost ${name}`);
          }
        }
      }
  }
}

const keyOf = (app: string, { name, epoch }: SimPlace): string => `${app} ${name} in epoch ${epoch}`;

function wantedOf(entry: Entry | undefined): Wanted {
  if (entry === undefined) return {};
  return (readFenced(entry).value as unknown as { stages: Wanted }).stages;
}
