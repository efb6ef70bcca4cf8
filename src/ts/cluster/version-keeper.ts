// The part of the controller that keeps the versions of all apps: versions.ts decides, and this makes the apps below
// match.
//
// Invariant: it writes only while its controller leads, each record against the revision that it decided from. The
// record of the versions is written first; apps below are made and removed as it says, so the next leader can do the
// rest.
import { isDeepStrictEqual } from 'node:util';
import type { ControlPort, ControlStore, Leadership } from '../control/index.js';
import { placeName, stagePlaces } from '../pipeline/index.js';
import type { ClusterEvents } from './cluster-events.js';
import { APPS, type App, asJson, type PlanRecord } from './cluster-records.js';
import type { ClusterView } from './cluster-view.js';
import { appOf, liveVersions, type Release, versionApp, versionOf, VERSIONS } from './release-records.js';
import { nextVersions, versionEvents, type VersionState } from './versions.js';
import { VersionsView } from './versions-view.js';

/** A timer may fire a little before its time. */
const LATE_MS = 5;
/** How often a pending decision is looked at. */
const LOOK_AGAIN_MS = 1000;

export interface VersionKeeperParts {
  readonly store: ControlStore;
  readonly leaseMs: number;
  readonly port: ControlPort;
  readonly view: ClusterView;
  readonly events: Pick<ClusterEvents, 'append'>;
  /** Something is new: keep() is to be called again. */
  readonly onChange: () => void;
  readonly onTrouble: (what: string, error: unknown) => void;
}

export class VersionKeeper {
  private readonly versions: VersionsView;
  /** Since when a release is seen to be brought up, by app. */
  private readonly waiting = new Map<string, { release: number; sinceMs: number; stopTimer: () => void }>();

  constructor(private readonly parts: VersionKeeperParts) {
    const { store, leaseMs, port, onChange } = parts;
    this.versions = new VersionsView(store, { leaseMs, port, onChange });
  }

  get isSynced(): boolean {
    return this.versions.isSynced;
  }

  /** It leads again, or no longer: it has waited for nothing yet. */
  restart(): void {
    for (const { stopTimer } of this.waiting.values()) stopTimer();
    this.waiting.clear();
  }

  /**
   * Decides, and writes what changes.
   *
   * @returns false: some write came to nothing, and is to be decided again
   */
  async keep(leadership: Leadership): Promise<boolean> {
    let isDone = true;
    const live = new Map<string, App | undefined>();
    for (const app of this.versions.names()) {
      try {
        await this.keepOne(app, leadership, live);
      } catch (error) {
        isDone = false;
        this.parts.onTrouble(VERSIONS + app, error);
        // What is not known to be over goes on.
        for (const name of this.parts.view.appNames()) if (versionOf(name)?.app === app) live.set(name, undefined);
      }
    }
    return (await this.match(live, leadership)) && isDone;
  }

  private async keepOne(app: string, leadership: Leadership, live: Map<string, App | undefined>): Promise<void> {
    const { store, events } = this.parts;
    const release = this.versions.release(app);
    const entry = this.versions.entry(app);
    const record = this.versions.record(app);
    const states: Record<string, VersionState> = {};
    for (const version of record === undefined ? [] : liveVersions(record))
      states[version] = this.stateOf(app, version);
    const waitedMs = this.waitedMs(app, record?.next?.release);
    const next = nextVersions({ release, record, states, waitedMs });
    if (next === undefined) {
      if (entry === undefined) return;
      leadership.check();
      await store.delete(entry.key, entry.revision);
    } else if (!isDeepStrictEqual(next, record)) {
      await leadership.put(VERSIONS + app, asJson(next), { expected: entry?.revision ?? 0 });
    }
    for (const { type, words, version } of versionEvents(app, record, next)) {
      void events.append({ app, type, words, inputs: { version } });
    }
    if (next === undefined) return;
    this.wait(app, next.next?.release, next.next?.readyWithinMs ?? 0);
    const counts: Release['counts'] = release?.counts ?? {};
    for (const version of liveVersions(next)) {
      const below = appOf(app, version, next.codes[version]!, counts, this.beginningOf(app, version, next.current));
      live.set(below.name, below);
    }
  }

  // Makes the apps below those that live. A name that was another code's has no plan left of it.
  private async match(live: ReadonlyMap<string, App | undefined>, leadership: Leadership): Promise<boolean> {
    const { store, view, onTrouble } = this.parts;
    let isDone = true;
    const write = async (key: string, work: () => Promise<unknown>) => {
      try {
        leadership.check();
        await work();
      } catch (error) {
        isDone = false;
        onTrouble(key, error);
      }
    };
    for (const name of view.appNames()) {
      const entry = view.appEntry(name);
      if (entry === undefined || versionOf(name) === undefined || live.has(name)) continue;
      await write(entry.key, () => store.delete(entry.key, entry.revision));
    }
    for (const [name, app] of live) {
      const entry = view.appEntry(name);
      if (app === undefined || (entry === undefined && view.planEntry(name) !== undefined)) continue;
      if (entry !== undefined && isSame(view, app)) continue;
      await write(APPS + name, () => store.put(APPS + name, asJson(app), { expected: entry?.revision ?? 0 }));
    }
    return isDone;
  }

  private stateOf(app: string, version: string): VersionState {
    const { view } = this.parts;
    const name = versionApp(app, version);
    const gateways = view.gatewaysOf(name).length;
    const below = view.app(name);
    const record = below === undefined ? undefined : view.record(below);
    const hasPlan = record?.plan !== null && record !== undefined;
    if (below === undefined || record === undefined || record.plan === null) {
      const text = gateways === 0 ? 'no gateway is connected to it' : 'it has no places yet';
      return { hasPlan, gateways, missing: [text, ...(record?.unplaced ?? [])].join('; '), broken: undefined };
    }
    return { hasPlan, gateways, ...this.placesOf(below, record) };
  }

  // A version that is scaled by its load begins with what the current one has, and goes on from what it began with.
  private beginningOf(app: string, version: string, current: string | null): Record<string, number> {
    const { view } = this.parts;
    const own = view.app(versionApp(app, version));
    if (own !== undefined) return { ...own.wanted };
    const below = current === null ? undefined : view.app(versionApp(app, current));
    const plan = below === undefined ? undefined : view.record(below)?.plan;
    if (below === undefined || plan === null || plan === undefined) return {};
    return Object.fromEntries(below.spec.stages.map(({ name }, stage) => [name, plan.instances[stage]!.length]));
  }

  private placesOf(app: App, record: PlanRecord): Pick<VersionState, 'missing' | 'broken'> {
    const { view } = this.parts;
    const missing = [...record.unplaced];
    let broken: string | undefined;
    for (const id of stagePlaces(record.plan!)) {
      const place = placeName(app.spec, id);
      const node = record.assignments[place]?.node;
      const report = view.report(app.name, record, place);
      if (report?.state === 'broken') broken ??= `${place} on node ${node}: ${report.reason ?? 'it is broken'}`;
      if (report?.state === 'ready' && report.plans.includes(record.plan!.number)) continue;
      const state = report?.state === 'ready' ? 'has not taken the plan up' : `is ${report?.state ?? 'not started'}`;
      missing.push(`${place} on node ${node} ${state}`);
    }
    return { missing: missing.length === 0 ? undefined : missing.join('; '), broken };
  }

  // ---- How long a version may take

  private waitedMs(app: string, release: number | undefined): number {
    const known = this.waiting.get(app);
    return known === undefined || known.release !== release ? 0 : this.parts.port.timers.now() - known.sinceMs;
  }

  private wait(app: string, release: number | undefined, readyWithinMs: number): void {
    const known = this.waiting.get(app);
    if (known?.release === release) return;
    known?.stopTimer();
    this.waiting.delete(app);
    if (release === undefined) return;
    const { timers } = this.parts.port;
    const waiting = { release, sinceMs: timers.now(), stopTimer: () => {} };
    const lookAfter = (ms: number) => {
      waiting.stopTimer = timers.after(ms, () => {
        // Its controller may not lead at that moment, and lead on after it.
        lookAfter(LOOK_AGAIN_MS);
        this.parts.onChange();
      });
    };
    lookAfter(readyWithinMs + LATE_MS);
    this.waiting.set(app, waiting);
  }

  async close(): Promise<void> {
    this.restart();
    await this.versions.close();
  }
}

function isSame(view: ClusterView, app: App): boolean {
  try {
    return isDeepStrictEqual(asJson(view.app(app.name)!), asJson(app));
  } catch {
    return false; // it cannot be read: it is written again
  }
}
