// A snapshot of a whole cluster, from outside.
//
// Invariant: it writes nothing. It shows what the store says at one moment; a node that died within its lease is still
// in it.
import { RdmaError } from '../core/errors.js';
import { withDeadline } from '../core/deadline.js';
import { type ControlStore, type Json, Members, systemControlPort } from '../control/index.js';
import { readLeaseRecord } from '../control/lease-record.js';
import type { Via } from '../pipeline/index.js';
import { checkNode, type NodeInfo } from '../planner/policies.js';
import { type App, DRAINS, LEADER, NODES } from './cluster-records.js';
import { ClusterView } from './cluster-view.js';
import { appOf, liveVersions, NO_VERSIONS, type VersionsRecord } from './release-records.js';
import { VersionsView } from './versions-view.js';

/** A version of an app, as the store says it is. */
export interface AppOverview {
  readonly name: string;
  readonly version: string;
  /** `current`: takes the new requests; `next`: is brought up; `draining`: has its last requests. */
  readonly role: 'current' | 'next' | 'draining';
  /** Versions of the app that `rollback` goes to, the last one first. */
  readonly past: readonly string[];
  /** What became of the last release that did not stay; null: nothing was taken back since the current one came. */
  readonly rolledBack: { readonly version: string; readonly reason: string } | null;
  readonly module: string;
  /** Number of the newest plan; null: there is none yet. */
  readonly plan: number | null;
  /** Numbers of its gateways. */
  readonly gateways: readonly number[];
  readonly wanted: Readonly<Record<string, number>>;
  readonly places: readonly {
    place: string;
    node: string;
    state: string;
    reason: string | null;
    pid: number | null;
    /** The device by which it reaches each place and gateway that it sends to, and why. */
    vias: Readonly<Record<string, Via>>;
  }[];
  readonly unplaced: readonly string[];
  /** Why the last change was taken back. */
  readonly refused: string | null;
}

/** Answered by {@link overview}. */
export interface ClusterOverview {
  readonly leader: { readonly name: string; readonly term: number } | null;
  readonly nodes: readonly (NodeInfo & { readonly places: number })[];
  /** Each version that there is, the current one of an app first. */
  readonly apps: readonly AppOverview[];
}

/**
 * Looks at a cluster.
 *
 * @param timeoutMs how long to wait for the store, default 10 000
 * @throws RdmaError RDMA_ERR_TIMEOUT; those of ControlStore.get
 */
export async function overview(store: ControlStore, timeoutMs = 10_000): Promise<ClusterOverview> {
  const port = systemControlPort;
  const leaseMs = 3000;
  let review = () => {};
  const view = new ClusterView(store, { leaseMs, port, onChange: () => review() });
  const versions = new VersionsView(store, { leaseMs, port, onChange: () => review() });
  const nodes = new Members(store, { prefix: NODES, leaseMs, port });
  try {
    const synced = new Promise<void>((resolve) => {
      review = () => view.isSynced && versions.isSynced && resolve();
    });
    const late = () => new RdmaError('RDMA_ERR_TIMEOUT', `the control store told nothing within ${timeoutMs} ms`);
    review();
    await withDeadline(synced, { timeoutMs, timers: port.timers, late });
    await Promise.all([nodes.whenSynced(timeoutMs), view.gateways.whenSynced(timeoutMs)]);
    const apps = versions.names().flatMap((name) => versionsOf(view, versions, name));
    const leader = readLeaseRecord(await store.get(LEADER));
    const seen = await Promise.all(
      nodes.list().map(async ({ name, data }) => {
        const info = infoOf(name, data);
        if (info === undefined) return [];
        const draining = (await store.get(DRAINS + name)) !== undefined;
        const places = apps.flatMap((app) => app.places.filter(({ node }) => node === name)).length;
        return [{ ...info, draining, places }];
      }),
    );
    const isLed = leader !== undefined && !leader.free;
    return {
      leader: isLed ? { name: String(Object(leader.data).name), term: leader.term } : null,
      nodes: seen.flat(),
      apps,
    };
  } finally {
    await Promise.all([nodes.close(), view.close(), versions.close()]);
  }
}

// What writes a record that is no node's is no node; the controller complains of it.
function infoOf(name: string, data: Json): NodeInfo | undefined {
  try {
    return checkNode({ ...Object(data), name });
  } catch {
    return undefined;
  }
}

function versionsOf(view: ClusterView, versions: VersionsView, name: string): AppOverview[] {
  const release = versions.release(name);
  const record = versions.record(name) ?? NO_VERSIONS;
  const { current, next, past } = record;
  const counts = release?.counts ?? {};
  const seen = liveVersions(record).map((version): AppOverview => {
    const role = version === current ? 'current' : version === next?.version ? 'next' : 'draining';
    const app = appOf(name, version, record.codes[version]!, counts);
    return { name, version, role, past, rolledBack: rolledBackOf(record), ...lookAt(view, app) };
  });
  if (release === undefined || release.number <= record.release) return seen;
  // No controller has taken it up yet.
  const { version, code } = release;
  if (seen.some((each) => each.version === version)) return seen;
  const app = appOf(name, version, code, counts);
  return [...seen, { name, version, role: 'next', past, rolledBack: null, ...lookAt(view, app) }];
}

function rolledBackOf({ outcomes }: VersionsRecord): AppOverview['rolledBack'] {
  const last = outcomes.at(-1);
  return last?.type === 'rolled-back' ? { version: last.version, reason: last.reason ?? '' } : null;
}

type Look = Pick<AppOverview, 'module' | 'plan' | 'gateways' | 'wanted' | 'places' | 'unplaced' | 'refused'>;

function lookAt(view: ClusterView, app: App): Look {
  const { name } = app;
  const known = view.app(name);
  const record = known === undefined ? undefined : view.record(known);
  const places = Object.entries(record?.assignments ?? {}).map(([place, { node }]) => {
    const report = view.report(name, record!, place);
    return {
      place,
      node,
      state: report?.state ?? 'unknown',
      reason: report?.reason ?? null,
      pid: report?.pid ?? null,
      vias: report?.vias ?? {},
    };
  });
  return {
    module: app.module,
    plan: record?.plan?.number ?? null,
    gateways: view.gatewaysOf(name).map(({ number }) => number),
    wanted: app.wanted,
    places,
    unplaced: record?.unplaced ?? [],
    refused: record?.refused?.reason ?? null,
  };
}
