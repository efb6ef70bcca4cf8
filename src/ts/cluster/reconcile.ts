// The decisions of the controller: from the deployed versions and the present nodes to the next plan of each app.
//
// Invariant: a pure function, and deciding again on its answer changes nothing. Plans only move forward, one change at
// a time: the next one begins when no request is under an older plan. A place whose node is lost moves under its name;
// one whose node lives is never moved but replaced by another number, so that it can end its work. A place that only
// older plans have and that was lost once stays lost, even if its node comes back, as others have let go of it. The
// last instance of a stage is taken away only if none is wanted.
import { isDeepStrictEqual } from 'node:util';
import { makePlan, type Plan, placeName, stagePlaces } from '../pipeline/index.js';
import { place, type NodeInfoInput, type Placement } from '../planner/policies.js';
import { GpuClaims } from './gpu-claims.js';
import { type App, type Assignment, NO_PLAN, type PlaceReport, type PlanRecord } from './cluster-records.js';

/** A gateway that is there. */
export interface LiveGateway {
  readonly number: number;
  /** That it has adopted and not let go of. */
  readonly plans: readonly number[];
}

/** What is known of an app. */
export interface KnownApp {
  readonly app: App;
  readonly record: PlanRecord | undefined;
  readonly gateways: readonly LiveGateway[];
  /** By place; of the node and epoch that it is assigned to. */
  readonly reports: Readonly<Record<string, PlaceReport>>;
  /** What others have seen, which the record may lack: a store that dies may forget its last writes. */
  readonly seen: Seen;
  /** How long an instance of a stage that may sleep takes to start, in ms, by stage; not there: none may. */
  readonly startMs?: Readonly<Record<string, number>>;
  /** The most instances that its stages may have for want of GPUs, by stage; not there: no limit. */
  readonly limits?: Readonly<Record<string, number>>;
  /** What is wanted and was not given for want of GPUs, in words; not there: nothing. */
  readonly short?: readonly string[];
}

export interface Seen {
  /** The highest number of a plan that a gateway or a place works under; 0: none. */
  readonly plan: number;
  /** The highest epoch that a node has reported, by place. */
  readonly epochs: Readonly<Record<string, number>>;
}

/** A node that is alive. */
export interface LiveNode extends NodeInfoInput {
  /** Differs for each agent that was started on it. */
  readonly run: string;
}

export interface KnownCluster {
  readonly apps: readonly KnownApp[];
  readonly nodes: readonly LiveNode[];
}

/** The run of each live node. */
type Alive = ReadonlyMap<string, string>;

/**
 * Decides.
 *
 * @returns the record of each app whose plan, places or words change; the others stay
 */
export function reconcile({ apps, nodes }: KnownCluster): Map<string, PlanRecord> {
  const alive: Alive = new Map(nodes.map(({ name, run }) => [name, run]));
  const settled = apps.map((known) => retireOld(catchUp(known, alive)));
  const result = place({
    nodes: nodes.map(({ run: _, ...node }) => node),
    workflows: settled.map(({ known: { app }, record, wanted }) => ({
      id: app.name,
      spec: app.spec,
      wanted: app.spec.stages.map(({ name }) => Math.max(wanted[name]!, record.plan === null ? 1 : 0)),
    })),
    previous: settled.flatMap(({ known: { app }, record }) => placementsOf(app, record)),
  });
  const claims = new GpuClaims(
    settled.map(({ known: { app, record: before }, record }) => {
      // What is let go of just now may still have its process.
      const assignments = { ...before?.assignments, ...record.assignments };
      return { app, record, assignments, isAlive: (assignment) => isAlive(alive, assignment) };
    }),
    result.placements,
  );
  const changed = new Map<string, PlanRecord>();
  for (const [i, { known, record }] of settled.entries()) {
    const { name } = known.app;
    const { placements: mine, waiting } = claims.ready(known.app);
    const reasons = result.unplaced.filter(({ group }) => group.startsWith(`${name}/`)).map(({ reason }) => reason);
    const unplaced = [...(known.short ?? []), ...reasons, ...waiting];
    const next = withLost(known.app, nextRecord(known, { ...record, unplaced }, mine, alive, claims), alive);
    if (!isDeepStrictEqual(next, apps[i]!.record ?? NO_PLAN)) changed.set(name, next);
  }
  return changed;
}

// The store has forgotten plans and epochs: what comes next is above them, so that nobody takes it for what it knows.
function catchUp(known: KnownApp, alive: Alive): KnownApp {
  const { app, seen, gateways } = known;
  let record = known.record ?? NO_PLAN;
  const lastEpoch = Math.max(record.lastEpoch, ...Object.values(seen.epochs));
  if (lastEpoch > record.lastEpoch) record = { ...record, lastEpoch };
  for (const [name, assignment] of Object.entries(record.assignments)) {
    if (assignment.epoch >= (seen.epochs[name] ?? 0) || !isAlive(alive, assignment)) continue;
    record = { ...record, lastEpoch: record.lastEpoch + 1 };
    record = { ...record, assignments: { ...record.assignments, [name]: { ...assignment, epoch: record.lastEpoch } } };
  }
  const { plan, olderPlans } = record;
  const numbers = numbersOf(gateways);
  if (seen.plan > (plan?.number ?? 0) && plan !== null && numbers.length > 0) {
    const next = makePlan(app.spec, seen.plan + 1, plan.instances, numbers);
    record = withPlans(app, record, next, [...olderPlans, plan]);
  }
  return { ...known, record };
}

interface Settled {
  readonly known: KnownApp;
  readonly record: PlanRecord;
  readonly wanted: Readonly<Record<string, number>>;
}

// It came back under its number, and the newest plan is without it: it may know an older one that has it, adopt that
// and not have said so yet.
function mayAdopt({ number, plans }: LiveGateway, newest: Plan | null, older: readonly Plan[]): boolean {
  if (plans.length > 0 || newest === null || newest.gateways.includes(number)) return false;
  return older.some(({ gateways }) => gateways.includes(number));
}

// Lets go of older plans that no request is under, and of a change that comes to nothing.
function retireOld(known: KnownApp): Settled {
  const { app, gateways } = known;
  let record = known.record ?? NO_PLAN;
  const { plan } = record;
  if (plan !== null && record.olderPlans.length > 0 && gateways.length > 0) {
    // One that has come since is in the next plan only, and waits for it.
    const isAdopted = gateways.every(
      (each) => !plan.gateways.includes(each.number) || each.plans.includes(plan.number),
    );
    const olderPlans = record.olderPlans.filter(
      (each) =>
        !isAdopted ||
        gateways.some(({ plans }) => plans.includes(each.number)) ||
        gateways.some((gateway) => mayAdopt(gateway, plan, [each])),
    );
    record = withPlans(app, record, plan, olderPlans);
    const before = record.olderPlans.at(-1);
    // One that was taken back is not: it would go to and fro.
    const isBack = record.refused?.wanted === JSON.stringify(app.wanted);
    if (!isAdopted && !isBack && before !== undefined) record = takeBack(known, record, plan, before) ?? record;
  }
  const { refused } = record;
  if (refused?.wanted === JSON.stringify(app.wanted)) return { known, record, wanted: refused.counts };
  return { known, record: { ...record, refused: null }, wanted: app.wanted };
}

// A change is taken back when an instance that it has begun will not work.
function takeBack(known: KnownApp, record: PlanRecord, plan: Plan, before: Plan): PlanRecord | undefined {
  const { app, gateways, reports } = known;
  const { stages } = app.spec;
  // To what was lost nobody goes back.
  const works = before.instances.map((list, i) => {
    return list.filter((instance) => !record.lost.includes(placeName(app.spec, { stage: i, instance })));
  });
  const reason = failureOf(app, plan, works, reports);
  if (reason === undefined) return undefined;
  // Requests wait for a stage that the change has woken, or replaced.
  const instances = works.map((list, i) => {
    return list.length === 0 && app.wanted[stages[i]!.name]! > 0 ? plan.instances[i]! : list;
  });
  const counts = Object.fromEntries(
    stages.map(({ name }, i) => {
      const [was, now] = [before.instances[i]!.length, instances[i]!.length];
      return [name, now === 0 ? 0 : Math.max(was, now)];
    }),
  );
  const back = makePlan(app.spec, plan.number + 1, instances, numbersOf(gateways));
  const refused = { wanted: JSON.stringify(app.wanted), reason, counts };
  // A gateway may have adopted the plan just now, and not said so yet.
  return withStarts(known, { ...withPlans(app, record, back, [...record.olderPlans, plan]), refused });
}

// Why an instance that only the newest plan has will not work.
function failureOf(
  app: App,
  plan: Plan,
  works: readonly (readonly number[])[],
  reports: KnownApp['reports'],
): string | undefined {
  for (const id of stagePlaces(plan)) {
    // Where nothing worked before, there is nothing to go back to.
    if (works[id.stage]!.length === 0 || works[id.stage]!.includes(id.instance)) continue;
    const report = reports[placeName(app.spec, id)];
    if (report?.state === 'broken') return report.reason ?? `${placeName(app.spec, id)} is broken`;
  }
  return undefined;
}

/** Where the instances of the newest plan are. */
export function placementsOf(app: App, { plan, assignments }: PlanRecord): Placement[] {
  if (plan === null) return [];
  return stagePlaces(plan).flatMap(({ stage, instance }) => {
    const name = placeName(app.spec, { stage, instance });
    const assignment = assignments[name];
    if (assignment === undefined) return [];
    const { node, gpus } = assignment;
    return [{ group: `${app.name}/${app.spec.stages[stage]!.name}`, instance, node, gpus }];
  });
}

function nextRecord(
  known: KnownApp,
  record: PlanRecord,
  placements: readonly Placement[],
  alive: Alive,
  claims: GpuClaims,
): PlanRecord {
  const { app, gateways, record: before, seen } = known;
  const { spec } = app;
  const { plan, olderPlans } = record;
  // A name that is let go of just now is not given again at once: its process may be there still.
  const taken = new Set(Object.keys({ ...before?.assignments, ...record.assignments }));
  const assignments: Record<string, Assignment> = { ...record.assignments };
  let { lastEpoch } = record;
  const assign = (name: string, { node, gpus }: Placement) => {
    assignments[name] = { node, run: alive.get(node)!, epoch: ++lastEpoch, gpus: [...gpus] };
  };
  const fresh: { name: string; placement: Placement }[] = [];
  let isForced = false;
  const instances = spec.stages.map((stage, index) => {
    const group = `${app.name}/${stage.name}`;
    const placed = placements.filter((each) => each.group === group);
    const now = plan?.instances[index] ?? [];
    const list: number[] = [];
    for (const each of placed) {
      const name = `${stage.name}/${each.instance}`;
      const assignment = now.includes(each.instance) ? record.assignments[name] : undefined;
      if (assignment === undefined || (assignment.node !== each.node && isAlive(alive, assignment))) {
        const number = freeNumber(stage.name, taken);
        taken.add(`${stage.name}/${number}`);
        list.push(number);
        fresh.push({ name: `${stage.name}/${number}`, placement: each });
        continue;
      }
      list.push(each.instance);
      // Its node is lost, or its agent was started again: it goes on under its name.
      if (!lives(alive, record, name)) assign(name, each);
    }
    // There is nowhere else to go: what lives goes on, and of what is lost the last one waits for a node.
    const missing = now.filter((instance) => !placed.some((each) => each.instance === instance));
    const short = Math.max(0, Math.min(app.wanted[stage.name]!, now.length) - list.length);
    const isThere = (instance: number) => lives(alive, record, `${stage.name}/${instance}`);
    // But not with a GPU that another one was given.
    const keeps = (instance: number) => !claims.isGiven(record.assignments[`${stage.name}/${instance}`]!);
    list.push(...missing.filter((instance) => isThere(instance) && keeps(instance)).slice(0, short));
    const isWanted = app.wanted[stage.name]! > 0;
    if (list.length === 0 && isWanted) list.push(...missing.slice(0, 1));
    if (missing.some((instance) => !isThere(instance) && !list.includes(instance))) isForced = true;
    return list.sort(up);
  });
  const numbers = numbersOf(gateways);
  const repaired = { ...record, assignments, lastEpoch };
  // What sleeps may sleep on where there is no room for it.
  const maySleep = (stage: number) =>
    app.wanted[spec.stages[stage]!.name] === 0 || plan?.instances[stage]?.length === 0;
  if (numbers.length === 0 || instances.some((list, i) => list.length === 0 && (plan === null || !maySleep(i)))) {
    return repaired;
  }
  if (plan?.gateways.some((number) => !numbers.includes(number))) isForced = true;
  // It was taken for lost, and came back: it can let go of its older plan only when a newer one has it.
  const isBack = ({ number, plans }: LiveGateway) => plan?.gateways.includes(number) === false && plans.length > 0;
  if (gateways.some((each) => isBack(each) || mayAdopt(each, plan, olderPlans))) isForced = true;
  const isSame = plan !== null && isDeepStrictEqual([plan.instances, plan.gateways], [instances, numbers]);
  if (isSame || (olderPlans.length > 0 && !isForced)) return repaired;
  for (const { name, placement } of fresh) assign(name, placement);
  const next = makePlan(spec, Math.max(plan?.number ?? 0, seen.plan) + 1, instances, numbers);
  const after = withPlans(app, { ...repaired, lastEpoch }, next, plan === null ? [] : [...olderPlans, plan]);
  return withStarts(known, after);
}

// Of a new plan: how long the stages take to start that sleep under it.
function withStarts({ app, startMs = {} }: KnownApp, record: PlanRecord): PlanRecord {
  const { startMs: _, ...others } = record;
  const sleeping = app.spec.stages.filter((_, stage) => record.plan?.instances[stage]?.length === 0);
  if (sleeping.length === 0) return others;
  return { ...others, startMs: Object.fromEntries(sleeping.map(({ name }) => [name, Math.ceil(startMs[name] ?? 0)])) };
}

// Places that none of the plans has are forgotten.
function withPlans(app: App, record: PlanRecord, plan: Plan, olderPlans: readonly Plan[]): PlanRecord {
  const names = new Set([plan, ...olderPlans].flatMap((each) => namesOf(app, each)));
  const assignments = Object.fromEntries(Object.entries(record.assignments).filter(([name]) => names.has(name)));
  return { ...record, plan, olderPlans, assignments };
}

function withLost(app: App, record: PlanRecord, alive: Alive): PlanRecord {
  const newest = new Set(record.plan === null ? [] : namesOf(app, record.plan));
  const lost = Object.keys(record.assignments).filter((name) => !newest.has(name) && !lives(alive, record, name));
  return { ...record, lost: lost.sort() };
}

// Whether a place has its process still. One that was lost once has not: who came back to it would be alone.
function lives(alive: Alive, { assignments, lost }: PlanRecord, name: string): boolean {
  return isAlive(alive, assignments[name]) && !lost.includes(name);
}

function isAlive(alive: Alive, assignment: Assignment | undefined): boolean {
  return assignment !== undefined && alive.get(assignment.node) === assignment.run;
}

function namesOf(app: App, plan: Plan): string[] {
  return stagePlaces(plan).map((id) => placeName(app.spec, id));
}

function freeNumber(stage: string, taken: ReadonlySet<string>): number {
  for (let number = 0; ; number++) if (!taken.has(`${stage}/${number}`)) return number;
}

function numbersOf(gateways: readonly LiveGateway[]): number[] {
  return gateways.map(({ number }) => number).sort(up);
}

const up = (a: number, b: number): number => a - b;
