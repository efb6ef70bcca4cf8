// The instance counts that the leading controller wants for scaled stages, from their load.
//
// Invariant: wanted counts are in the store before anything depends on them, so the next leader wants the same and goes
// on from there. It decides only while it leads, one app after the other. Apps without a scaled stage cost nothing.
import { RdmaError } from '../core/errors.js';
import { checkObject } from '../core/validate.js';
import { type ControlPort, type ControlStore, type Entry, type Leadership, readFenced } from '../control/index.js';
import { View } from '../control/view.js';
import type { ScaleEvent } from '../planner/policies.js';
import type { ClusterEvents } from './cluster-events.js';
import { type App, asJson, gatewayKey, SCALES } from './cluster-records.js';
import type { ClusterView } from './cluster-view.js';
import type { ScaledStage } from './gpu-demand.js';
import { type GatewayLoad, LOADS, readLoad } from './gateway-load.js';
import type { KnownApp } from './reconcile.js';
import { versionOf } from './release-records.js';
import {
  type Fed,
  feed,
  type FeedState,
  firstMemory,
  NO_FEED,
  scaledStages,
  startMsOf,
  wantedOf,
} from './scale-feed.js';
import type { Troubles } from './troubles.js';

const EVERY_MS = 1000;
/** The memory of the policy is written after each action, and after that long. */
const REMEMBER_MS = 10_000;
const DAY_MS = 86_400_000;

export interface AutoscalerOptions {
  readonly leaseMs: number;
  readonly port: ControlPort;
  readonly view: ClusterView;
  readonly events: ClusterEvents;
  readonly troubles: Troubles;
  readonly leadership: () => Leadership | undefined;
  readonly known: () => readonly KnownApp[];
  /** Other counts are wanted, or it can say now what is wanted. */
  readonly onChange: () => void;
  /** It has decided for all apps. */
  readonly onTick?: () => void;
}

/** `scales.APP`, written by the controller that leads. */
interface ScaleRecord {
  /** On the clock of the policy: it goes on from leader to leader, and began with the time of the day (UTC). */
  readonly atMs: number;
  readonly stages: FeedState['stages'];
}

interface Remembered {
  state: FeedState;
  /** The clock of the policy is that much ahead of this process's monotonic one. */
  readonly aheadMs: number;
  /** Of the record in the store that it goes on from. */
  revision: number;
  writtenMs: number;
  /** Tasks that wait, by stage. */
  queued: Readonly<Record<string, number>>;
}

export class Autoscaler {
  private views: { scales: View; loads: View } | undefined; // once there is a scaled stage
  private readonly apps = new Map<string, Remembered>(); // while it leads
  private stopTimer: (() => void) | undefined;
  private work: Promise<void> = Promise.resolve();
  private isClosed = false;

  constructor(
    private readonly store: ControlStore,
    private readonly options: AutoscalerOptions,
  ) {}

  /** What another leader may have written since is read again. */
  reset(): void {
    this.apps.clear();
  }

  /** Whether it can say for every app what is wanted; if not, it calls when it can. */
  get isReady(): boolean {
    const { view } = this.options;
    return view.appNames().every((name) => {
      try {
        const app = view.app(name);
        return app === undefined || this.wantedOf(app) !== undefined;
      } catch {
        return true; // nothing can be made of it anyway
      }
    });
  }

  /**
   * How many instances of each stage are wanted.
   *
   * @returns undefined: what was decided before is not read yet
   */
  wantedOf(app: App): Readonly<Record<string, number>> | undefined {
    if (scaledStages(app).length === 0) return app.wanted;
    this.begin();
    const remembered = this.remembered(app);
    return remembered === undefined ? undefined : wantedOf(app, remembered.state.stages);
  }

  /** How long an instance of each stage that may sleep takes to start, in ms; undefined: none may. */
  startMsOf(app: App): Readonly<Record<string, number>> | undefined {
    if (scaledStages(app).every(({ scale }) => scale?.min !== 0)) return undefined;
    return startMsOf(app, this.apps.get(app.name)?.state.stages ?? {});
  }

  /** What is known of a stage, for who divides GPUs by it. */
  scaledOf({ name }: App, stage: string): ScaledStage {
    const remembered = this.apps.get(name);
    return { memory: remembered?.state.stages[stage], queued: remembered?.queued[stage] ?? 0 };
  }

  private begin(): void {
    if (this.views !== undefined || this.isClosed) return;
    const { leaseMs, port, onChange } = this.options;
    let isSynced = false;
    const review = () => {
      if (isSynced || !this.isSynced) return;
      isSynced = true;
      onChange();
    };
    const view = (prefix: string) => new View(this.store, { prefix, leaseMs, port, onChange: review });
    this.views = { scales: view(SCALES), loads: view(LOADS) };
    this.later();
  }

  private get isSynced(): boolean {
    return this.views !== undefined && this.views.scales.syncs > 0 && this.views.loads.syncs > 0;
  }

  private remembered(app: App): Remembered | undefined {
    const known = this.apps.get(app.name);
    if (known !== undefined || !this.isSynced) return known;
    const nowMs = this.options.port.timers.now();
    const entry = this.views!.scales.get(SCALES + app.name);
    let record: ScaleRecord = { atMs: Date.now() % DAY_MS, stages: {} };
    try {
      if (entry !== undefined) record = readScales(app, entry);
    } catch (error) {
      this.options.troubles.add(SCALES + app.name, error); // it starts from nothing
    }
    const remembered: Remembered = {
      state: { ...NO_FEED, stages: record.stages },
      aheadMs: record.atMs - nowMs,
      revision: entry?.revision ?? 0,
      writtenMs: nowMs,
      queued: {},
    };
    this.apps.set(app.name, remembered);
    return remembered;
  }

  private later(): void {
    if (this.isClosed) return;
    this.stopTimer = this.options.port.timers.after(
      EVERY_MS,
      () => {
        this.work = this.tick()
          .catch((error) => this.options.troubles.add('scaling', error))
          .finally(() => this.later());
      },
      true,
    );
  }

  private async tick(): Promise<void> {
    if (!this.isSynced || this.options.leadership() === undefined) return;
    for (const known of this.options.known()) {
      if (scaledStages(known.app).length === 0) continue;
      await this.decide(known).catch((error) => {
        // The policy's memory cannot be read: only the counts stay.
        this.options.troubles.add(SCALES + known.app.name, error);
        const remembered = this.apps.get(known.app.name);
        if (remembered !== undefined)
          remembered.state = { ...NO_FEED, stages: countsOnly(remembered, this.options.port) };
      });
    }
    await this.forgetOthers();
    if (this.apps.size > 0) this.options.onTick?.();
  }

  private async decide(known: KnownApp): Promise<void> {
    const { app } = known;
    const { port, leadership, troubles, onChange } = this.options;
    const remembered = this.remembered(app);
    if (remembered === undefined) return;
    const nowMs = port.timers.now();
    const { state, decisions } = feed(
      { known, loads: this.loadsOf(app) },
      remembered.state,
      nowMs + remembered.aheadMs,
    );
    const fresh = decisions.filter(({ isNew }) => isNew);
    if (fresh.length > 0 || nowMs - remembered.writtenMs >= REMEMBER_MS) {
      const record: ScaleRecord = { atMs: nowMs + remembered.aheadMs, stages: state.stages };
      try {
        const { revision } = remembered;
        remembered.revision = await leadership()!.put(SCALES + app.name, asJson(record), { expected: revision });
        remembered.writtenMs = nowMs;
      } catch (error) {
        troubles.add(SCALES + app.name, error);
        // What the store has now is read again, and nothing is made of what was decided.
        this.apps.delete(app.name);
        return;
      }
    }
    remembered.state = state;
    remembered.queued = Object.fromEntries(decisions.map(({ stage, event }) => [stage, event.load.queued]));
    if (fresh.length === 0) return;
    for (const decision of fresh) this.tell(app, decision);
    onChange();
  }

  private tell({ name }: App, { stage, event }: Fed['decisions'][number]): void {
    const words = wordsOf(name, stage, event);
    const app = versionOf(name)?.app ?? name;
    void this.options.events.append({ app, type: 'scale', words, inputs: event });
  }

  // Only of gateways that are there, in the incarnation that they have.
  private loadsOf(app: App): Map<number, GatewayLoad> {
    const loads = new Map<number, GatewayLoad>();
    const { view, troubles } = this.options;
    for (const { number } of view.gatewaysOf(app.name)) {
      const key = gatewayKey(app.name, number);
      const entry = this.views!.loads.get(LOADS + key);
      if (entry === undefined) continue;
      try {
        const load = readLoad(app.spec, entry);
        if (load.incarnation === view.gateways.get(key)?.incarnation) loads.set(number, load);
      } catch (error) {
        troubles.add(entry.key, error);
      }
    }
    return loads;
  }

  // Of apps that are not deployed any more.
  private async forgetOthers(): Promise<void> {
    const names = new Set(this.options.view.appNames());
    for (const name of this.apps.keys()) if (!names.has(name)) this.apps.delete(name);
    const gone = [...this.views!.scales.entries(), ...this.views!.loads.entries()].filter(({ key }) => {
      return !names.has(key.split('.')[1]!);
    });
    for (const { key, revision } of gone) {
      this.options.leadership()?.check();
      await this.store.delete(key, revision).catch(() => {}); // another time
    }
  }

  async close(): Promise<void> {
    this.isClosed = true;
    this.stopTimer?.();
    await this.work;
    await Promise.all([this.views?.scales.close(), this.views?.loads.close()]);
  }
}

function countsOnly({ state: { stages }, aheadMs }: Remembered, { timers }: ControlPort): FeedState['stages'] {
  const nowMs = timers.now() + aheadMs;
  return Object.fromEntries(Object.entries(stages).map(([name, { to }]) => [name, firstMemory(to, nowMs)]));
}

function readScales({ spec }: App, entry: Entry): ScaleRecord {
  const { atMs, stages } = checkObject<ScaleRecord>(entry.key, readFenced(entry).value);
  if (!Number.isFinite(atMs)) throw new RdmaError('RDMA_ERR_PROTOCOL', `${entry.key} has no time`);
  const known = Object.entries(checkObject<ScaleRecord['stages']>(entry.key, stages)).filter(([name, memory]) => {
    return spec.stages.some((stage) => stage.name === name) && Number.isInteger(memory?.to) && memory.to >= 0;
  });
  return { atMs, stages: Object.fromEntries(known) };
}

const REASONS: Readonly<Record<string, string>> = {
  steady: 'as many as the rate needs',
  backlog: 'what waits would be late',
  forecast: 'more will come',
  least: 'the least that the policy allows',
  idle: 'nothing comes',
  unproven: 'fewer may do',
};

function wordsOf(app: string, stage: string, { load, action }: ScaleEvent): string {
  const { type, from, to, reason } = action;
  const { queued, running, ready, startingMs } = load;
  const now = `${queued} wait and ${running} run on ${ready} ready, ${startingMs.length} starting`;
  const what = type === 'hold' ? `no more than ${to}` : `${from} to ${to}`;
  return `${app}/${stage}: ${what} instances, ${REASONS[reason] ?? reason}; ${now}`;
}
