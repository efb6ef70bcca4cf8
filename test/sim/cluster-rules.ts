// What must never happen in a cluster, seen from outside: by what its store has applied, and by what runs.
//
// Invariant: nothing here asks the code under test what it believes about others. A store that has forgotten may give a
// number twice before anybody could say so: then only what comes in the end counts.
import type { PlanRecord } from '../../src/ts/cluster/cluster-records.js';
import { PLANS } from '../../src/ts/cluster/cluster-records.js';
import { readFenced } from '../../src/ts/control/fenced.js';
import type { Entry } from '../../src/ts/control/store.js';
import { isDeepStrictEqual } from 'node:util';
import type { SimProcess } from '../../src/ts/sim/process.js';
import { SPEC } from '../cluster/reconcile-world.js';
import { placeName, stagePlaces } from '../../src/ts/pipeline/index.js';
import { APP, type SimPlace } from './cluster-parts.js';
import type { ClusterRun } from './cluster-run.js';
import type { Applied } from './control-store.js';

export class ClusterRules {
  /** Which process has run a place under an epoch. */
  private readonly owners = new Map<string, SimProcess>();
  plans = 0;
  /** What a partition must never lead to: each of them breaks the run. */
  readonly counts = { leadersTogether: 0, plansBack: 0, placesTwice: 0 };

  constructor(private readonly run: ClusterRun) {
    run.server.onApply = (applied) => this.onApply(applied);
    run.world.onStep = () => this.onStep();
  }

  private onStep(): void {
    const leaders = this.run.nodes.filter(
      ({ process, controller }) => process.state === 'running' && controller?.isLeading === true,
    );
    if (leaders.length < 2) return;
    this.counts.leadersTogether++;
    this.run.broken(`two leaders act: ${leaders.map(({ name }) => name).join(' and ')}`);
  }

  private onApply({ key, before, after }: Applied): void {
    if (key !== PLANS + APP) return;
    this.plans++;
    const [old, now] = [recordOf(before), recordOf(after)];
    if (this.run.server.hasForgotten || old?.plan === undefined || old.plan === null) return;
    const number = now?.plan?.number ?? 0;
    if (number < old.plan.number) this.wentBack(`plan ${old.plan.number} went back to ${number}`);
    else if (number === old.plan.number && !isDeepStrictEqual(now?.plan, old.plan))
      this.wentBack(`plan ${number} was changed`);
    if ((now?.lastEpoch ?? 0) < old.lastEpoch) this.wentBack(`epoch ${old.lastEpoch} went back to ${now?.lastEpoch}`);
  }

  private wentBack(words: string): void {
    this.counts.plansBack++;
    this.run.broken(words);
  }

  /** A process of a place begins. */
  onBegin({ name, epoch }: SimPlace, process: SimProcess): void {
    const key = `${name} in epoch ${epoch}`;
    const owner = this.owners.get(key);
    this.owners.set(key, process);
    if (owner === undefined || owner === process || this.run.server.hasForgotten) return;
    this.counts.placesTwice++;
    this.run.broken(`${key} runs twice: in ${owner.name}, and in ${process.name}`);
  }

  /** A process of a place ends, as the record does not have it any more. */
  onEnd({ name, epoch }: SimPlace, record: PlanRecord | undefined): void {
    if (this.run.server.hasForgotten || record?.assignments[name]?.epoch !== undefined) return;
    for (const { name: who, plans, membership, adopted, process } of this.run.gateways) {
      const under = plans.find((plan) => stagePlaces(plan).some((id) => placeName(SPEC, id) === name));
      if (under === undefined || process.state !== 'running') continue;
      // One that was ever lost meanwhile is taken for dead.
      const incarnation = membership?.incarnation;
      const then = adopted.get(under.number);
      if (incarnation === undefined || then?.incarnation !== incarnation || then.assignments[name]?.epoch !== epoch)
        continue;
      this.run.broken(`${name} of epoch ${epoch} ended, and ${who} has requests under plan ${under.number}`);
    }
  }
}

export function recordOf(entry: Entry | undefined): PlanRecord | undefined {
  return entry === undefined ? undefined : (readFenced(entry).value as unknown as PlanRecord);
}
