// One supervised place of a pipeline on this host: its process, and the successors of that.
//
// Invariant: a place has at most one process. One that ends is followed by another, as its budget allows; one that is
// not ready within its time is ended. A place that has worked is never given up: when its budget is spent it is broken,
// and tried later and later. A place that leaves, or that was given up before it worked, gets no more processes.
import { performance } from 'node:perf_hooks';
import { RdmaError } from '../core/errors.js';
import type { Availability, RequestAttempt, RunningTask, Via } from '../pipeline/index.js';
import type { Finding } from './blame.js';
import type { PlaceState, Restart, RestartCounts, SupervisionStatus } from './place-state.js';
import { PlaceWatch, type Verdict, type WatchLimits } from './place-watch.js';
import { isStopped } from './process-state.js';
import type { FromWorker, ToWorker, WorkerConfig } from './protocol.js';
import { RestartBudget } from './restart-budget.js';
import type { Watched } from './watchman.js';
import { WorkerProcess } from './worker.js';

/** What a place asks of its pipeline. */
export interface PlaceHost {
  /** As in LocalPipelineOptions. */
  limits(): { maxRestarts: number; startTimeoutMs: number };
  /** What the processes of a stage are held to. */
  watchLimits(stage: string): WatchLimits;
  /** Nothing is started any more. */
  isEnding(): boolean;
  /** Whether the pipeline has started: from then on each process has a time limit of its own. */
  hasStarted(): boolean;
  /** Whether a place that never worked is given up when its budget is spent. */
  readonly givesUp: boolean;
  /** Whether another place has no address: to be ready, a process connects to others. */
  isIncomplete(place: SupervisedPlace): boolean;
  /** The options of the next process. */
  configOf(place: SupervisedPlace): WorkerConfig;
  onMessage(place: SupervisedPlace, message: FromWorker): void;
  /** Its process has ended, with these tasks. Called before the next one starts. */
  onDeath(place: SupervisedPlace, tasks: readonly RunningTask[], verdict: Verdict | undefined, reason: string): Finding;
  /** It has no process now, so no address. */
  onGone(place: SupervisedPlace): void;
  onRestart(restart: Restart): void;
  /** Whether it works has changed. */
  onAvailability(place: SupervisedPlace, availability: Availability): void;
  /** It gets no process any more. */
  onGivenUp(place: SupervisedPlace, reason: RdmaError): void;
}

const COUNTERS = { hang: 'hangs', 'task-timeout': 'taskTimeouts', cancel: 'cancels' } as const;

export class SupervisedPlace {
  readonly stage: string;
  readonly instance: number;
  /** Plans that its process works under; empty until it is ready. */
  readonly plans = new Set<number>();
  /** Why it gets no process any more. */
  givenUp: RdmaError | undefined;
  /** Why it is not expected to work soon. */
  broken: RdmaError | undefined;
  /** How its last process ended; undefined once another one works. */
  lastEnd: string | undefined;
  /** The device by which its process reaches each other place. */
  vias: Readonly<Record<string, Via>> = {};
  private readonly host: PlaceHost;
  private readonly budget: RestartBudget;
  private readonly startTimeoutMs: number;
  private readonly counts: RestartCounts = { restarts: 0, hangs: 0, taskTimeouts: 0, cancels: 0, poisons: 0 };
  private worker: WorkerProcess | undefined;
  private watch: PlaceWatch | undefined; // of that process
  private verdict: Verdict | undefined; // why that process is being ended
  private startedAtMs = 0; // when that process was started
  private startMs: number | undefined; // how long the last one took until it was ready
  private isLoaded = false; // it has an address
  private isReady = false;
  private hasBeenReady = false;
  private isLeaving = false;
  private slow = false; // its process is being ended, as it was not ready in time
  private nextInMs: number | undefined;
  private timer: NodeJS.Timeout | undefined; // of the time limit, or until the next process

  constructor(host: PlaceHost, stage: string, instance: number) {
    this.host = host;
    this.stage = stage;
    this.instance = instance;
    const { maxRestarts, startTimeoutMs } = host.limits();
    this.startTimeoutMs = startTimeoutMs;
    // A start may hang once and be tried again.
    this.budget = new RestartBudget(maxRestarts, 2 * startTimeoutMs);
  }

  get name(): string {
    return `${this.stage}/${this.instance}`;
  }

  /** Whether its process is ready for work. */
  get ready(): boolean {
    return this.isReady;
  }

  /** Whether any process of it ever was: before, no request has come to it. */
  get wasReady(): boolean {
    return this.hasBeenReady;
  }

  /** It is being ended, as no plan has it any more. */
  get leaving(): boolean {
    return this.isLeaving;
  }

  /** In how long the next process may work, in ms; undefined: one runs, or nobody knows. */
  get readyInMs(): number | undefined {
    return this.nextInMs;
  }

  get pid(): number | undefined {
    return this.worker?.pid;
  }

  /** What an operator asks. */
  get status(): SupervisionStatus {
    return { state: this.state, reason: this.broken, startMs: this.startMs, ...this.counts };
  }

  private get state(): PlaceState {
    if (this.broken !== undefined) return 'broken';
    if (this.watch?.isStopped === true) return 'stopped';
    return this.isReady ? 'ready' : 'starting';
  }

  /** Its process, to be looked at from outside; undefined when there is none, or when it is being ended. */
  get watched(): Watched | undefined {
    const { worker, watch } = this;
    const pid = worker?.pid;
    if (worker === undefined || watch === undefined || pid === undefined || this.verdict !== undefined)
      return undefined;
    return {
      watch,
      tasks: worker.tasks,
      isStopped: () => isStopped(pid),
      onUnwanted: (request: RequestAttempt) => worker.send({ type: 'ended', request }),
      onStopped: (isNow) => {
        if (this.isReady) this.host.onAvailability(this, isNow ? { state: 'starting' } : { state: 'ready' });
      },
      onVerdict: (verdict) => {
        this.verdict = verdict;
        worker.kill();
      },
    };
  }

  /** How far it is on the way to work; for people. */
  get progress(): string {
    if (this.lastEnd !== undefined) return this.lastEnd;
    if (this.isReady) return 'it has not taken the plan yet';
    return this.isLoaded ? 'it has loaded, and is not connected to all others' : 'it has not loaded';
  }

  send(message: ToWorker): void {
    this.worker?.send(message);
  }

  /** Starts a process, unless there is one or one will be started. */
  start(): void {
    if (this.worker !== undefined || this.timer !== undefined || this.givenUp !== undefined) return;
    const { host } = this;
    let worker: WorkerProcess;
    try {
      const config = host.configOf(this);
      const plans = [config.plan, ...config.olderPlans].map(({ number }) => number);
      worker = new WorkerProcess(config, {
        onMessage: (message) => this.onMessage(message, plans),
        onExit: (reason) => this.onExit(worker.failure?.message ?? reason, worker.failure, worker.tasks),
      });
    } catch (error) {
      // Not in this turn: a caller that starts many places goes on with the next one. A cause in this package itself,
      // such as a bundle, does not go away.
      const failure = error instanceof RdmaError ? error : undefined;
      const end = () => this.onExit(`it could not be started: ${(error as Error).message}`, failure, []);
      this.timer = setTimeout(end, 0);
      return;
    }
    this.worker = worker;
    this.watch = new PlaceWatch(host.watchLimits(this.stage));
    this.startedAtMs = performance.now();
    this.limitStart();
  }

  /** The pipeline has started: from now on each process has its own time to become ready. */
  limitStart(): void {
    const { host } = this;
    if (!host.hasStarted() || this.worker === undefined || this.isReady || this.timer !== undefined) return;
    this.timer = setTimeout(() => this.onSlow(), this.startTimeoutMs);
  }

  private onSlow(): void {
    this.timer = undefined;
    // It waits for one that has its own time.
    if (this.isLoaded && this.host.isIncomplete(this)) {
      this.limitStart();
      return;
    }
    this.slow = true;
    this.worker?.kill();
  }

  private stopTimer(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private onMessage(message: FromWorker, startPlans: readonly number[]): void {
    if (message.type === 'listening') this.isLoaded = true;
    else if (message.type === 'ready') {
      this.stopTimer();
      this.isReady = true;
      this.hasBeenReady = true;
      this.broken = undefined;
      this.lastEnd = undefined;
      this.nextInMs = undefined;
      this.startMs = performance.now() - this.startedAtMs;
      for (const number of startPlans) this.plans.add(number);
      this.budget.ready(performance.now());
      this.host.onAvailability(this, { state: 'ready' });
    } else if (message.type === 'adopted') this.plans.add(message.number);
    else if (message.type === 'vias') this.vias = message.vias;
    this.host.onMessage(this, message);
  }

  private onExit(ended: string, failure: RdmaError | undefined, tasks: readonly RunningTask[]): void {
    const { host, verdict, isReady: wasReady } = this;
    const reason = this.slow ? `it was not ready within ${this.startTimeoutMs} ms` : ended;
    this.stopTimer();
    this.worker = undefined;
    this.watch = undefined;
    this.verdict = undefined;
    this.isLoaded = false;
    this.isReady = false;
    this.slow = false;
    this.plans.clear();
    this.vias = {};
    if (host.isEnding()) return;
    host.onGone(this);
    if (this.isLeaving) return;
    // A process that says before the first request why it cannot work will say so again.
    if (failure !== undefined && !host.hasStarted() && host.givesUp) {
      this.giveUp(failure);
      return;
    }
    const { failed, isExcused } = host.onDeath(this, tasks, verdict, reason);
    const words = this.count(reason, verdict, failed);
    this.lastEnd = words;
    const end = isExcused ? 'task' : failure === undefined || wasReady ? 'other' : 'failed';
    const { delayMs, spent } = this.budget.died(performance.now(), end);
    if (spent !== undefined) {
      const error = this.spentError(spent, words, delayMs);
      if (host.givesUp && (!host.hasStarted() || !this.hasBeenReady)) {
        this.giveUp(error);
        return;
      }
      this.broken = error;
    }
    this.startAfter(delayMs);
    const { stage, instance } = this;
    host.onRestart({ stage, instance, reason: words, at: Date.now(), delayMs, failed });
  }

  private count(reason: string, verdict: Verdict | undefined, failed: readonly string[]): string {
    this.counts.restarts++;
    if (verdict !== undefined) {
      this.counts[COUNTERS[verdict.kind]]++;
      return `${verdict.kind}: ${verdict.words}`;
    }
    if (failed.length === 0) return reason;
    this.counts.poisons++;
    return `poison: ${reason}, while it ran request ${failed.join(', ')}`;
  }

  private spentError(spent: string, text: string, delayMs: number): RdmaError {
    const message = `stage ${this.name} ${spent}, the last time by ${text}`;
    const remedy = 'see what it printed, or raise maxRestarts or startTimeoutMs';
    const retryAfterMs = delayMs + Math.ceil(this.startMs ?? 0);
    return new RdmaError('RDMA_ERR_STAGE_FAILED', message, { stage: this.stage, remedy, retryAfterMs });
  }

  private startAfter(delayMs: number): void {
    const readyInMs = delayMs + Math.ceil(this.startMs ?? 0);
    this.nextInMs = readyInMs;
    const { broken } = this;
    this.host.onAvailability(
      this,
      broken === undefined
        ? { state: 'starting', readyInMs }
        : { state: 'broken', reason: broken, retryInMs: readyInMs },
    );
    if (delayMs === 0) this.start();
    else this.timer = setTimeout(() => this.restart(), delayMs);
  }

  private restart(): void {
    this.timer = undefined;
    if (!this.host.isEnding()) this.start();
  }

  private giveUp(reason: RdmaError): void {
    this.givenUp = reason;
    this.host.onGivenUp(this, reason);
  }

  /** Ends its process; there will be no other. */
  async stop(): Promise<void> {
    this.isLeaving = true;
    this.stopTimer();
    await this.worker?.stop();
  }
}
