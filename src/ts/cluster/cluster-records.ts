// The records that the components of a cluster write for each other into the control store.
//
// Invariant: one writer for each record: the controller that leads writes `apps.APP` and `plans.APP`, a node writes
// `reports.NODE.APP`, a gateway advertises itself. A malformed record is refused by name, and leaves the known state
// unchanged.
import { isRdmaError, RdmaError } from '../core/errors.js';
import { Secret } from '../core/secret.js';
import { checkInteger, checkObject, checkString, invalidArgument } from '../core/validate.js';
import { type Entry, type Json, readFenced } from '../control/index.js';
import { readJson } from '../control/store.js';
import {
  checkPlaceAddress,
  checkPlan,
  checkSpec,
  type Plan,
  type WorkflowSizes,
  type WorkflowSpec,
  type PlaceAddress,
  type Via,
} from '../pipeline/index.js';

export const APPS = 'apps.';
export const PLANS = 'plans.';
export const REPORTS = 'reports.';
export const NODES = 'nodes.';
export const GATEWAYS = 'gateways.';
export const DRAINS = 'drains.';
export const LEADER = 'leader';
export const SCALES = 'scales.';

/** Names of apps and nodes: they are parts of keys. */
const NAME = /^[-=\w]{1,64}$/;

/** Names of apps below: those of their versions. */
const APP_NAME = /^[-=\w]{1,97}$/;

/** A version of a workflow that was deployed. */
export interface App {
  /** `NAME=VERSION`. */
  readonly name: string;
  /** The file that exports it, with its folder, on every node. */
  readonly module: string;
  /** SHA-256 of that file, in hex. */
  readonly hash: string;
  readonly spec: WorkflowSpec;
  readonly sizes: WorkflowSizes;
  /** How many instances each stage shall have, by name. */
  readonly wanted: Readonly<Record<string, number>>;
  /** Stages whose count an operator has fixed: their load does not scale them. Not there: none. */
  readonly fixed?: readonly string[];
}

/** Where a place is meant to be. */
export interface Assignment {
  readonly node: string;
  /** Of the node's agent: another one on the same node has none of its processes. */
  readonly run: string;
  /** Grows with each assignment in the app: of two processes of one place, the one of the higher epoch counts. */
  readonly epoch: number;
  /** Numbers of the node's GPUs. */
  readonly gpus: readonly number[];
}

/** @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkClusterSecret(secret: unknown): Secret<string> {
  return new Secret(checkString('secret', secret, { minLength: 8, maxLength: 4096 }));
}

/** What the controller has decided for an app. */
export interface PlanRecord {
  /** The newest; null: there are no places yet. */
  readonly plan: Plan | null;
  /** Those before it that requests may be under still. */
  readonly olderPlans: readonly Plan[];
  /** Every place of these plans. */
  readonly assignments: Readonly<Record<string, Assignment>>;
  readonly lastEpoch: number;
  /** Places that only older plans have, and whose nodes are lost: their requests are admitted again. */
  readonly lost: readonly string[];
  /** What is wanted and is not there, in words. */
  readonly unplaced: readonly string[];
  /** A change that came to nothing: it is not tried again while the same is wanted. */
  readonly refused: {
    readonly wanted: string;
    readonly reason: string;
    /** What is wanted instead: as many as there were before. */
    readonly counts: Readonly<Record<string, number>>;
  } | null;
  /**
   * How long an instance took to start, in ms, when the plan was made: by stage, for those without an instance in the
   * newest plan. Absent when every stage has one.
   */
  readonly startMs?: Readonly<Record<string, number>>;
}

export type ReportedState = 'starting' | 'ready' | 'stopped' | 'broken';

/** How a place does, by its node. */
export interface PlaceReport {
  readonly epoch: number;
  readonly state: ReportedState;
  /** Plans under which its process works. */
  readonly plans: readonly number[];
  /** Where it listens. */
  readonly address: PlaceAddress | null;
  /** Why it is broken; of one that is starting, how the process before ended. */
  readonly reason: string | null;
  /** In how long it may work, in ms. */
  readonly readyInMs: number | null;
  readonly pid: number | null;
  readonly restarts: number;
  /** The device by which it reaches each place and gateway that it sends to, and why. */
  readonly vias: Readonly<Record<string, Via>>;
}

/** All places of an app on a node. */
export type NodeReport = Readonly<Record<string, PlaceReport>>;

/** What a gateway advertises. */
export interface GatewayData {
  readonly app: string;
  readonly number: number;
  /** null: it has none yet. */
  readonly address: PlaceAddress | null;
  /** Plans that it has adopted and not let go of. */
  readonly plans: readonly number[];
  /** Lost places that it has given up: it takes nothing that comes of them. One of an older release does not say it. */
  readonly lost?: readonly string[];
}

export const NO_PLAN: PlanRecord = Object.freeze({
  plan: null,
  olderPlans: [],
  assignments: {},
  lastEpoch: 0,
  lost: [],
  unplaced: [],
  refused: null,
});

/** @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for a name that is no part of a key */
export function checkName(what: string, name: unknown): string {
  return checkString(what, name, { pattern: NAME });
}

/** @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for what is not the name of an app, or of a version of it */
export function checkAppName(name: unknown): string {
  return checkString('the name of an app', name, { pattern: APP_NAME });
}

/** A record as JSON takes it: its types say that it is. */
export const asJson = (record: object): Json => JSON.parse(JSON.stringify(record)) as Json;

/** Names an app's gateway among the members. */
export const gatewayKey = (app: string, number: number): string => `${app}.${number}`;

const apps = new WeakMap<Entry, App>();
const plans = new WeakMap<Entry, { spec: WorkflowSpec; record: PlanRecord }>();
const reports = new WeakMap<Entry, NodeReport>();

/** An app; an entry is read once. @throws RdmaError RDMA_ERR_PROTOCOL naming the record */
export function readApp(entry: Entry): App {
  return once(apps, entry, () => {
    const { name, module, hash, spec, sizes, wanted, fixed = [] } = checkObject<App>('an app', readJson(entry));
    const checked = checkSpec(spec);
    const counts: Record<string, number> = {};
    for (const stage of checked.stages) {
      const count = checkObject<Record<string, number>>('wanted', wanted)[stage.name];
      counts[stage.name] = checkInteger(`wanted.${stage.name}`, count ?? stage.instances, 1, 64);
    }
    return {
      name: checkAppName(name),
      module: checkString('module', module, { minLength: 1, maxLength: 4096 }),
      hash: checkString('hash', hash, { pattern: /^[0-9a-f]{64}$/ }),
      spec: checked,
      sizes: checkObject<WorkflowSizes>('sizes', sizes),
      wanted: counts,
      ...(Array.isArray(fixed) && fixed.length > 0 ? { fixed: fixed.map((stage) => checkString('fixed', stage)) } : {}),
    };
  });
}

/** What was decided for an app; an entry is read once. @throws RdmaError RDMA_ERR_PROTOCOL naming the record */
export function readPlanRecord(spec: WorkflowSpec, entry: Entry): PlanRecord {
  if (plans.get(entry)?.spec !== spec) plans.delete(entry);
  return once(plans, entry, () => ({ spec, record: checkPlanRecord(spec, readFenced(entry).value) })).record;
}

function checkPlanRecord(spec: WorkflowSpec, value: Json): PlanRecord {
  const checked = checkObject<PlanRecord>('plan', value);
  const { plan, olderPlans, assignments, lastEpoch, lost, unplaced, refused, startMs } = checked;
  for (const [name, list] of Object.entries({ olderPlans, lost, unplaced })) {
    if (!Array.isArray(list)) throw invalidArgument(name, list, 'a list');
  }
  return {
    plan: plan === null ? null : checkPlan(spec, plan),
    olderPlans: olderPlans.map((older) => checkPlan(spec, older)),
    assignments: checkObject<Record<string, Assignment>>('assignments', assignments),
    lastEpoch: checkInteger('lastEpoch', lastEpoch, 0),
    lost,
    unplaced,
    refused,
    ...(startMs === undefined ? {} : { startMs: checkStarts(startMs) }),
  };
}

function checkStarts(startMs: unknown): Record<string, number> {
  const given = Object.entries(checkObject<Record<string, unknown>>('startMs', startMs));
  return Object.fromEntries(given.map(([stage, ms]) => [stage, checkInteger(`startMs.${stage}`, ms, 0)]));
}

/** What a node says; an entry is read once. @throws RdmaError RDMA_ERR_PROTOCOL naming the record */
export function readReport(entry: Entry): NodeReport {
  return once(reports, entry, () => {
    const report = checkObject<NodeReport>('a report', readJson(entry));
    return Object.fromEntries(
      Object.entries(report).map(([place, each]) => {
        const { address = null, vias = {}, ...more } = checkObject<PlaceReport>(place, each);
        return [place, { ...more, vias, address: address === null ? null : checkPlaceAddress(address) }];
      }),
    );
  });
}

/** undefined: it is no gateway's. */
export function readGateway(data: Json): GatewayData | undefined {
  const { app, number, address = null, plans, lost } = Object(data) as Partial<GatewayData>;
  if (typeof app !== 'string' || !Number.isInteger(number) || !Array.isArray(plans)) return undefined;
  const known = { app, number: number!, plans, ...(Array.isArray(lost) ? { lost } : {}) };
  try {
    return { ...known, address: address === null ? null : checkPlaceAddress(address) };
  } catch {
    // Of another release, or damaged: nobody can connect to it.
    return { ...known, address: null };
  }
}

/** Reads an entry once. @throws RdmaError RDMA_ERR_PROTOCOL naming the record */
export function once<T extends object>(known: WeakMap<Entry, T>, entry: Entry, read: () => T): T {
  const before = known.get(entry);
  if (before !== undefined) return before;
  const value = readOrRefuse(entry.key, read);
  known.set(entry, value);
  return value;
}

/** What a record says. @throws RdmaError RDMA_ERR_PROTOCOL naming the record when `read` throws */
export function readOrRefuse<T>(key: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    const words = isRdmaError(cause) ? cause.message : String(cause);
    throw new RdmaError('RDMA_ERR_PROTOCOL', `the record ${key} cannot be used: ${words}`, { cause });
  }
}
