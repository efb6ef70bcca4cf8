// The places of one app on one node: it makes their processes match the plan, and reports their state.
//
// Invariant: a process runs only in a place that the plan assigns to this node, under the epoch of that assignment;
// when the assignment moves, the process ends before another one starts here. It knows no gateway: messages to a
// gateway about a request go with the next process of the place.
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { RdmaError } from '../core/errors.js';
import type { Secret } from '../core/secret.js';
import {
  type PlaceId,
  type Plan,
  placeName,
  type RequestAttempt,
  requestName,
  stagePlaces,
  type PlaceAddress,
} from '../pipeline/index.js';
import type { App, GatewayData, NodeReport, PlaceReport, PlanRecord } from './cluster-records.js';
import { isGivenUp } from './given-up.js';
import { visibleDevices } from './gpus.js';
import type { LocalPipelineStatus } from './local-pipeline-options.js';
import type { Restart } from './place-state.js';
import { Places, type PlacesSettings } from './places.js';
import type { RequestFailure } from './protocol.js';
import { Waiters } from './waiters.js';
import { lookMs, Watchman } from './watchman.js';

/** Processes of one place under one epoch. */
const RUNS_PER_EPOCH = 4096;
/** So many requests are remembered whose processes have ended. */
const MAX_REMEMBERED = 256;
/** How often a module that was refused is looked at again. */
const CHECK_MS = 2000;

export interface AppHostOptions {
  readonly app: App;
  readonly node: string;
  /** Of this agent: what was assigned to one before it on the node is not its own. */
  readonly run: string;
  readonly secret: Secret<string>;
  readonly settings: PlacesSettings;
  /** How many GPUs the node says it has. */
  readonly gpuCount: number;
  /** The gateways of the app that are there. */
  readonly gateways: () => readonly GatewayData[];
  /** Where a place of another node is; undefined: nobody knows. */
  readonly addressOf: (place: string) => PlaceAddress | undefined;
  /** The report has changed. */
  readonly onReport: () => void;
  readonly onRestart: (restart: Restart) => void;
}

/** What a node runs of one app: the {@link AppHost}, or that of a simulation. */
export type Hosting = Pick<AppHost, 'app' | 'follow' | 'lookAround' | 'report' | 'close'>;

export class AppHost {
  private readonly options: AppHostOptions;
  private readonly places: Places;
  private readonly watchman: Watchman;
  private readonly waiters: Waiters;
  private record: PlanRecord | undefined;
  private lost: ReadonlySet<string> = new Set(); // the list that processes get when they begin
  private dropped: ReadonlySet<string> = new Set(); // of these: the ones that every process got
  private readonly epochs = new Map<string, number>(); // under which a place was started here
  private readonly tries = new Map<string, number>(); // by attempt of a request
  private failures: (RequestFailure & { stage: string })[] = [];
  private work: Promise<void> = Promise.resolve();
  private refusal: RdmaError | undefined; // why no process is started
  private isChecked = false;
  private nextCheck: NodeJS.Timeout | undefined;
  private isClosed = false;

  constructor(options: AppHostOptions) {
    this.options = options;
    const { app, settings, secret } = options;
    this.waiters = new Waiters(() => (this.isClosed ? closedError(app) : undefined));
    this.places = new Places({
      // Its module exports it by the name that all versions have.
      workflow: { ...app, name: app.spec.name },
      options: settings,
      secret,
      waiters: this.waiters,
      isEnding: () => this.isClosed,
      hasStarted: () => true,
      givesUp: false,
      plans: () => ({ plan: this.record!.plan!, olderPlans: [...this.record!.olderPlans] }),
      gone: () => [...this.lost],
      cudaDevices: (name) => this.cudaDevices(name),
      incarnationAbove: (name) => (this.epochs.get(name) ?? 0) * RUNS_PER_EPOCH,
      failuresOf: (stage) => this.failures.filter((each) => each.stage === stage),
      onRestart: (restart) => options.onRestart(restart),
      onAvailability: () => {},
      isUnderWay: () => true,
      countTry: (request) => this.countTry(request),
      failRequest: (request, reason) => this.failRequest(request, reason),
      onLost: () => {},
      onChange: () => options.onReport(),
    });
    const limitsMs = app.spec.stages.flatMap(({ taskTimeoutMs, graceMs }) => [taskTimeoutMs ?? graceMs, graceMs]);
    this.watchman = new Watchman(
      { processes: () => this.places.watched(), isBusy: () => this.epochs.size > 0, isWanted: () => true },
      lookMs([settings.heartbeatMs, ...limitsMs]),
    );
  }

  // A node without GPUs leaves the environment as it is.
  private cudaDevices(name: string): string | undefined {
    const gpus = this.record!.assignments[name]?.gpus ?? [];
    return this.options.gpuCount === 0 ? undefined : visibleDevices(gpus);
  }

  get app(): App {
    return this.options.app;
  }

  /** Follows a newer record, after all that it does for those before. */
  follow(record: PlanRecord): void {
    this.work = this.work.then(() => this.followNow(record)).catch((error) => this.refuse(error));
  }

  private async followNow(record: PlanRecord): Promise<void> {
    if (this.isClosed || record.plan === null) return;
    const before = this.record;
    this.record = record;
    if (!this.isChecked) await this.checkModule();
    if (this.refusal !== undefined) {
      this.options.onReport();
      return;
    }
    await this.endMoved(record);
    this.tellGone(record);
    for (const [name, address] of this.remoteAddresses(record)) this.tellAddress(name, address);
    const mine = this.own(record);
    for (const id of mine) {
      const name = placeName(this.app.spec, id);
      this.epochs.set(name, record.assignments[name]!.epoch);
    }
    this.places.startMissing(mine);
    if (this.epochs.size > 0) this.watchman.wake();
    this.tellPlans(before, record);
    await this.places.endOthers(mine);
    this.options.onReport();
  }

  // A place that left and came back is another one.
  private async endMoved(record: PlanRecord): Promise<void> {
    const stays = this.own(record).filter((id) => {
      const name = placeName(this.app.spec, id);
      const epoch = this.epochs.get(name);
      return epoch === undefined || epoch === record.assignments[name]!.epoch;
    });
    const kept = new Set(stays.map((id) => placeName(this.app.spec, id)));
    for (const name of [...this.epochs.keys()]) if (!kept.has(name)) this.epochs.delete(name);
    await this.places.endOthers(stays);
  }

  private tellPlans(before: PlanRecord | undefined, record: PlanRecord): void {
    const numbers = new Set(plansOf(record).map(({ number }) => number));
    const known = before === undefined ? [] : plansOf(before).map(({ number }) => number);
    for (const plan of plansOf(record)) {
      if (!known.includes(plan.number)) this.places.tell({ type: 'adopt', plan }, 'ready');
    }
    for (const number of known) if (!numbers.has(number)) this.places.tell({ type: 'retire', number });
  }

  private own(record: PlanRecord): PlaceId[] {
    const { node, run } = this.options;
    const seen = new Map<string, PlaceId>();
    for (const plan of plansOf(record)) {
      for (const id of stagePlaces(plan)) {
        const name = placeName(this.app.spec, id);
        const assignment = record.assignments[name];
        const isOwn = assignment?.node === node && assignment.run === run;
        // One that was lost once has no process any more, although this node is there again.
        if (isOwn && !record.lost.includes(name)) seen.set(name, id);
      }
    }
    return [...seen.values()];
  }

  /** Others have another address: looks where they are. */
  lookAround(): void {
    if (this.record === undefined || this.isClosed) return;
    this.tellGone(this.record);
    for (const [name, address] of this.remoteAddresses(this.record)) this.tellAddress(name, address);
    this.waiters.review();
  }

  private *remoteAddresses(record: PlanRecord): Iterable<[string, PlaceAddress | undefined]> {
    for (const [name, { node }] of Object.entries(record.assignments)) {
      if (node !== this.options.node) yield [name, this.options.addressOf(name)];
    }
    for (const number of new Set(plansOf(record).flatMap(({ gateways }) => [...gateways]))) {
      yield [`gateway/${number}`, this.options.addressOf(`gateway/${number}`)];
    }
  }

  // Places that only older plans have, and that are lost. A process that begins would wait for them for ever; one that
  // works keeps what it has sent there until no gateway counts on it.
  private tellGone(record: PlanRecord): void {
    const { addressOf } = this.options;
    const { spec } = this.app;
    const newest = new Set(record.plan?.gateways);
    const older = new Set(record.olderPlans.flatMap((plan) => plan.gateways.filter((each) => !newest.has(each))));
    const away = [...older].map((number) => `gateway/${number}`).filter((name) => addressOf(name) === undefined);
    const known = { spec, plans: plansOf(record) };
    const gateways = record.lost.length > 0 ? this.options.gateways() : [];
    const lost = new Set([...record.lost, ...away]);
    const dropped = new Set([...away, ...record.lost.filter((name) => isGivenUp(known, name, gateways))]);
    const newlyLost = [...lost].filter((name) => !this.lost.has(name));
    const newlyDropped = [...dropped].filter((name) => !this.dropped.has(name));
    this.lost = lost;
    this.dropped = dropped;
    if (newlyLost.length > 0) this.places.tell({ type: 'gone', places: newlyLost }, 'starting');
    if (newlyDropped.length > 0) this.places.tell({ type: 'gone', places: newlyDropped });
  }

  private tellAddress(name: string, address: PlaceAddress | undefined): void {
    const known = this.places.addressOf(name);
    if (JSON.stringify(known) !== JSON.stringify(address)) this.places.announce(name, address);
  }

  // ---- What it says

  /** How its places do. */
  report(): NodeReport {
    const { record } = this;
    const report: Record<string, PlaceReport> = {};
    if (record === undefined) return report;
    if (this.refusal !== undefined) {
      for (const id of this.own(record)) {
        const name = placeName(this.app.spec, id);
        report[name] = brokenReport(record.assignments[name]!.epoch, this.refusal);
      }
      return report;
    }
    const plans = new Set(plansOf(record).map(({ number }) => number));
    for (const place of this.places.list()) {
      const epoch = this.epochs.get(place.name);
      if (epoch === undefined) continue;
      const { state, reason, restarts } = place.status;
      report[place.name] = {
        epoch,
        state,
        plans: [...place.plans].filter((number) => plans.has(number)),
        address: this.places.addressOf(place.name) ?? null,
        reason: reason?.message ?? place.lastEnd ?? null,
        readyInMs: place.readyInMs ?? null,
        pid: place.pid ?? null,
        restarts,
        vias: place.vias,
      };
    }
    return report;
  }

  /** What its places are doing; asks all processes. For operators, not for hot loops. */
  async status(): Promise<Pick<LocalPipelineStatus, 'stages' | 'supervision'>> {
    const stages = await this.places.status();
    return { stages, supervision: this.places.supervision };
  }

  // ---- Requests over which processes end

  private countTry(request: RequestAttempt): number {
    const key = `${requestName(request.gateway, request.gatewayRun, request.ticket)}:${request.attempt}`;
    const tries = (this.tries.get(key) ?? 0) + 1;
    this.tries.delete(key);
    this.tries.set(key, tries);
    if (this.tries.size > MAX_REMEMBERED) this.tries.delete(this.tries.keys().next().value!);
    return tries;
  }

  private failRequest({ gateway, gatewayRun, ticket, attempt }: RequestAttempt, reason: RdmaError): void {
    const request = { gateway, gatewayRun, ticket, attempt };
    this.failures.push({ stage: reason.stage ?? '', request, code: reason.code, message: reason.message });
    if (this.failures.length > MAX_REMEMBERED) this.failures.shift();
  }

  // ---- The module

  private async checkModule(): Promise<void> {
    this.isChecked = true;
    const { module, hash, name } = this.app;
    let found: string;
    try {
      found = hashOf(await readFile(module));
    } catch (cause) {
      throw new RdmaError('RDMA_ERR_NOT_FOUND', `${name} cannot run here: ${module} cannot be read on this node`, {
        cause,
        remedy: 'install the module on this node, at the same path',
      });
    }
    if (found === hash) return;
    const hashes = `${found.slice(0, 12)}, not ${hash.slice(0, 12)}`;
    const text = `${name} cannot run here: ${module} has other content than what was deployed (${hashes})`;
    throw new RdmaError('RDMA_ERR_CONFLICT', text, {
      remedy: 'install the same version on all nodes, or deploy again',
    });
  }

  private refuse(error: unknown): void {
    this.refusal =
      error instanceof RdmaError ? error : new RdmaError('RDMA_ERR_STAGE_FAILED', String(error), { cause: error });
    this.options.onReport();
    // Somebody may put the file there.
    clearTimeout(this.nextCheck);
    if (!this.isClosed) this.nextCheck = setTimeout(() => this.checkAgain(), CHECK_MS);
  }

  private checkAgain(): void {
    this.refusal = undefined;
    this.isChecked = false;
    if (this.record !== undefined) this.follow(this.record);
  }

  /** Ends all processes. */
  async close(): Promise<void> {
    this.isClosed = true;
    clearTimeout(this.nextCheck);
    this.watchman.stop();
    this.waiters.review();
    await this.work;
    await this.places.close();
  }
}

/** What a deployed module is known by. */
export function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function brokenReport(epoch: number, { message }: RdmaError): PlaceReport {
  return {
    epoch,
    state: 'broken',
    plans: [],
    address: null,
    reason: message,
    readyInMs: null,
    pid: null,
    restarts: 0,
    vias: {},
  };
}

function plansOf({ plan, olderPlans }: PlanRecord): Plan[] {
  return plan === null ? [...olderPlans] : [...olderPlans, plan];
}

function closedError({ name }: App): RdmaError {
  return new RdmaError('RDMA_ERR_CLOSED', `${name} is closed on this node`);
}
