// One place of a pipeline on this host: the process in it, and the one after that.
//
// Invariant: a place has at most one process. One that ends is followed by another, as its budget allows; one that is not
// ready within its time is ended. A place that leaves, or that was given up, gets none any more.
import { performance } from 'node:perf_hooks';
import { RdmaError } from '../core/errors.js';
import type { FromWorker, ToWorker, WorkerConfig } from './protocol.js';
import { RestartBudget } from './restart-budget.js';
import { WorkerProcess } from './worker.js';

/** An instance that ended and is replaced. */
export interface Restart {
  stage: string;
  instance: number;
  /** How it ended. */
  reason: string;
  /** Wall clock, in ms since 1970. */
  at: number;
  /** After how long the next process is started, in ms: 0 the first time, then more each time. */
  delayMs: number;
}

/** What a place asks of its pipeline. */
export interface PlaceHost {
  /** As in LocalPipelineOptions. */
  limits(): { maxRestarts: number; startTimeoutMs: number };
  /** Nothing is started any more. */
  isEnding(): boolean;
  /** Whether the pipeline has started: from then on each process has a time limit of its own. */
  hasStarted(): boolean;
  /** Whether another place has no address: to be ready, a process connects to others. */
  isIncomplete(place: SupervisedPlace): boolean;
  /** What the next process is told. */
  configOf(place: SupervisedPlace): WorkerConfig;
  onMessage(place: SupervisedPlace, message: FromWorker): void;
  /** It has no process now, so no address. */
  onGone(place: SupervisedPlace): void;
  onRestart(restart: Restart): void;
  /** It gets no process any more. */
  onGivenUp(place: SupervisedPlace, reason: RdmaError): void;
}

export class SupervisedPlace {
  readonly stage: string;
  readonly instance: number;
  /** Plans that its process works under; empty until it is ready. */
  readonly plans = new Set<number>();
  /** Why it gets no process any more. */
  givenUp: RdmaError | undefined;
  private readonly host: PlaceHost;
  private readonly budget: RestartBudget;
  private readonly startTimeoutMs: number;
  private worker: WorkerProcess | undefined;
  private isLoaded = false; // it has an address
  private isReady = false;
  private hasBeenReady = false;
  private isLeaving = false;
  private slow = false; // its process is being ended, as it was not ready in time
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

  get pid(): number | undefined {
    return this.worker?.pid;
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
        onExit: (reason) => this.onExit(worker.failure?.message ?? reason, worker.failure),
      });
    } catch (error) {
      // Not in this turn: who starts many places goes on with the next one. What is ours will not go away, as with a bundle.
      const failure = error instanceof RdmaError ? error : undefined;
      const end = () => this.onExit(`it could not be started: ${(error as Error).message}`, failure);
      this.timer = setTimeout(end, 0);
      return;
    }
    this.worker = worker;
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
      for (const number of startPlans) this.plans.add(number);
      this.budget.ready(performance.now());
    } else if (message.type === 'adopted') this.plans.add(message.number);
    this.host.onMessage(this, message);
  }

  private onExit(reason: string, failure: RdmaError | undefined): void {
    const { host, slow } = this;
    this.stopTimer();
    this.worker = undefined;
    this.isLoaded = false;
    this.isReady = false;
    this.slow = false;
    this.plans.clear();
    if (host.isEnding()) return;
    host.onGone(this);
    if (this.isLeaving) return;
    // A process that says before the first request why it cannot work will say so again.
    if (failure !== undefined && !host.hasStarted()) {
      this.giveUp(failure);
      return;
    }
    const words = slow ? `it was not ready within ${this.startTimeoutMs} ms` : reason;
    const verdict = this.budget.died(performance.now());
    if ('givenUp' in verdict) {
      const message = `stage ${this.name} ${verdict.givenUp}, the last time by ${words}`;
      const remedy = 'see what it printed, or raise maxRestarts or startTimeoutMs';
      this.giveUp(new RdmaError('RDMA_ERR_STAGE_FAILED', message, { remedy }));
      return;
    }
    const { delayMs } = verdict;
    const { stage, instance } = this;
    if (delayMs === 0) this.start();
    else this.timer = setTimeout(() => this.restart(), delayMs);
    host.onRestart({ stage, instance, reason: words, at: Date.now(), delayMs });
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
