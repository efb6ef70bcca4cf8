// The input of the scaling policy, from the reports of gateways and nodes: once a second for each scaled stage.
//
// Invariant: pure; its memory is a value. Nothing of a gateway that is gone counts, and of a new gateway only the load
// since it was first seen. An action is confirmed when the plan that it asked for is the only one, and its places work.
import { capacityOf, placeName, type Plan, type StageSpec } from '../pipeline/index.js';
import {
  DEFAULT_SCALE_POLICY,
  decide,
  firstState,
  type ScaleAction,
  type ScaleEvent,
  type ScalePolicy,
  type ScaleState,
  type StageLoad,
} from '../planner/policies.js';
import type { GatewayLoad } from './gateway-load.js';
import type { KnownApp } from './reconcile.js';

/** What an instance is taken to need to start, until one was measured. */
const FIRST_LOAD_MS = 5000;
/** How much the newest start counts. */
const NEWEST_START = 0.5;

/** What is remembered of a stage, also by the next leader. */
export interface StageMemory {
  /** How many instances are wanted. */
  readonly to: number;
  readonly state: ScaleState;
  /** The number of the last action that was carried out. */
  readonly confirmed: number;
  /** How long its instances take to start. */
  readonly loadMs: number;
}

/** What is remembered of an app. */
export interface FeedState {
  readonly stages: Readonly<Record<string, StageMemory>>;
  /** By number: what each gateway had counted. */
  readonly gateways: Readonly<Record<number, GatewayLoad>>;
  /** By place: since when it starts, under which epoch. */
  readonly starts: Readonly<Record<string, { readonly epoch: number; readonly sinceMs: number }>>;
}

/** What there is: the app as reconcile sees it, and the reports of the gateways that are there. */
export interface KnownLoad {
  readonly known: Pick<KnownApp, 'app' | 'record' | 'reports' | 'gateways' | 'limits'>;
  readonly loads: ReadonlyMap<number, GatewayLoad>;
}

export const NO_FEED: FeedState = Object.freeze({ stages: {}, gateways: {}, starts: {} });

/** What is remembered of a stage of which only the count is known. */
export function firstMemory(to: number, nowMs: number, loadMs = FIRST_LOAD_MS): StageMemory {
  return { to, state: firstState(nowMs), confirmed: 0, loadMs };
}

/** The policy of a stage; undefined: it is not scaled. */
export function policyOf({ scale }: StageSpec): ScalePolicy | undefined {
  if (scale === undefined) return undefined;
  const { loadMs: _, ...policy } = scale;
  return { ...DEFAULT_SCALE_POLICY, ...policy };
}

/** Stages that the policy scales: those whose spec says so, without those that an operator has fixed. */
export function scaledStages({ spec, fixed = [] }: KnownApp['app']): StageSpec[] {
  return spec.stages.filter(({ name, scale }) => scale !== undefined && !fixed.includes(name));
}

/** How many instances each stage shall have: what was decided, within what the spec allows, or what operators say. */
export function wantedOf(app: KnownApp['app'], stages: FeedState['stages']): Record<string, number> {
  const decided = scaledStages(app).map(({ name, scale }) => {
    const count = stages[name]?.to ?? app.wanted[name]!;
    return [name, Math.max(scale!.min, Math.min(scale!.max, count))] as const;
  });
  return { ...app.wanted, ...Object.fromEntries(decided) };
}

/**
 * How long an instance of each stage that may sleep takes to start, in ms: what was measured or what the author says,
 * whichever is longer.
 */
export function startMsOf(app: KnownApp['app'], stages: FeedState['stages']): Record<string, number> {
  const may = scaledStages(app).filter(({ scale }) => scale?.min === 0);
  return Object.fromEntries(
    may.map(({ name, scale }) => [name, Math.max(scale?.loadMs ?? 0, stages[name]?.loadMs ?? FIRST_LOAD_MS)]),
  );
}

/**
 * Decides for every stage of an app that is scaled.
 *
 * @param before what the last call has answered
 * @param nowMs on the clock of the policy, which goes on from leader to leader
 * @returns what is to be remembered, and the decisions, those to do nothing among them
 */
export function feed({ known, loads }: KnownLoad, before: FeedState, nowMs: number): Fed {
  const { app, record } = known;
  const starts: Record<string, { epoch: number; sinceMs: number }> = {};
  const stages: Record<string, StageMemory> = {};
  const decisions: Fed['decisions'] = [];
  const wanted = wantedOf(app, before.stages);
  const plan = record?.plan ?? undefined;
  for (const stage of scaledStages(app)) {
    const { name, scale } = stage;
    const old = before.stages[name] ?? firstMemory(wanted[name]!, nowMs, scale?.loadMs);
    const places = placesOf(known, stage, plan);
    let { loadMs, confirmed } = old;
    const startingMs: number[] = [];
    for (const { place, epoch, isReady, isUsed, isBroken } of places) {
      const start = before.starts[place];
      const sinceMs = start?.epoch === epoch ? start.sinceMs : nowMs;
      if (isReady) {
        // Seen to begin and to end: that long it takes.
        if (start?.epoch === epoch) loadMs += NEWEST_START * (nowMs - sinceMs - loadMs);
        if (!isUsed) startingMs.push(0);
      } else if (isBroken) startingMs.push(0);
      else {
        starts[place] = { epoch, sinceMs };
        startingMs.push(Math.max(0, loadMs - (nowMs - sinceMs)));
      }
    }
    const ready = places.length - startingMs.length;
    const isCarriedOut = places.length === wanted[name] && startingMs.length === 0 && record?.olderPlans.length === 0;
    if (isCarriedOut) confirmed = old.state.actions;
    const load = loadOfStage(stage, loads, before.gateways, { ready, startingMs, loadMs, confirmed });
    const event = decide(load, policyOf(stage)!, nowMs, old.state);
    const { action } = event;
    const to = action.type === 'hold' ? heldTo(wanted[name]!, known.limits?.[name], action) : action.to;
    stages[name] = { to, state: action.state, confirmed, loadMs };
    decisions.push({ stage: name, event, isNew: to !== wanted[name] });
  }
  return { state: { stages, gateways: Object.fromEntries(loads), starts }, decisions };
}

// Who may have fewer than it wants for want of GPUs, and is well with those that are there, wants no more than these.
function heldTo(wanted: number, limit: number | undefined, { to, reason }: ScaleAction): number {
  const isWell = limit !== undefined && limit < wanted && reason !== 'unconfirmed';
  return isWell ? Math.min(wanted, to) : wanted;
}

export interface Fed {
  readonly state: FeedState;
  readonly decisions: {
    readonly stage: string;
    readonly event: ScaleEvent;
    /** Another number of instances is wanted than before. */
    readonly isNew: boolean;
  }[];
}

interface SeenPlace {
  readonly place: string;
  readonly epoch: number;
  readonly isReady: boolean;
  /** Some gateway may send requests there. */
  readonly isUsed: boolean;
  readonly isBroken: boolean;
}

function placesOf({ app, record, reports, gateways }: KnownLoad['known'], stage: StageSpec, plan?: Plan): SeenPlace[] {
  if (plan === undefined || record === undefined) return [];
  const index = app.spec.stages.indexOf(stage);
  const adopted = new Set(gateways.flatMap(({ plans }) => plans));
  const used = [plan, ...record.olderPlans].filter(({ number }) => adopted.has(number));
  return plan.instances[index]!.map((instance) => {
    const place = placeName(app.spec, { stage: index, instance });
    const report = reports[place];
    return {
      place,
      epoch: record.assignments[place]?.epoch ?? 0,
      isReady: report?.state === 'ready',
      isUsed: used.some(({ instances }) => instances[index]!.includes(instance)),
      isBroken: report?.state === 'broken',
    };
  });
}

function loadOfStage(
  stage: StageSpec,
  loads: KnownLoad['loads'],
  before: FeedState['gateways'],
  known: Pick<StageLoad, 'ready' | 'startingMs' | 'loadMs' | 'confirmed'>,
): StageLoad {
  const { name } = stage;
  let [atWork, waiting, arrived, served, servedMs] = [0, 0, 0, 0, 0];
  for (const [number, load] of loads) {
    const own = load.stages[name]!;
    atWork += own.atWork;
    waiting += own.waiting;
    const last = before[number];
    // One that was not there before, or has begun again, counts from now on.
    if (last === undefined || last.incarnation !== load.incarnation || load.arrived < last.arrived) continue;
    arrived += load.arrived - last.arrived;
    served += Math.max(0, own.served - (last.stages[name]?.served ?? own.served));
    servedMs += Math.max(0, own.servedMs - (last.stages[name]?.servedMs ?? own.servedMs));
  }
  const slots = capacityOf(stage);
  const running = Math.min(atWork, known.ready * slots);
  return {
    stage: name,
    ...known,
    slots,
    queued: waiting + atWork - running,
    running,
    arrived,
    served,
    servedMs: served === 0 ? 0 : servedMs / served,
    hintMs: stage.cost?.computeMs ?? 0,
  };
}
