// Observes one pipeline: for dashboards, terminals, metrics and traces.
//
// Invariant: processes are asked for their status only while somebody looks, once a second for everybody together;
// otherwise each request costs some additions, and nothing else happens. The observer never holds a request up or a
// process open.
import { tellerOf } from '../core/event-teller.js';
import { checkFunction, checkInteger, checkObject } from '../core/validate.js';
import type { LocalPipelineStatus, RequestWatcher, Restart, RestartTotal } from '../cluster/index.js';
import type { WorkflowSpec } from '../pipeline/index.js';
import { countRequests } from './count-requests.js';
import type { MetricFamily } from './metric.js';
import { METRICS, metricFamilies } from './metrics.js';
import { RequestLog } from './request-log.js';
import type { Sample } from './sample.js';
import { Samples } from './samples.js';
import { makeSnapshot, type Snapshot } from './snapshot.js';
import type { RequestSpans } from './spans.js';
import { Totals } from './totals.js';

/** What is observed: a `LocalPipeline`, or what looks like one. */
export interface Observable {
  readonly workflow: { readonly spec: WorkflowSpec };
  readonly device: string;
  readonly restarts: readonly Restart[];
  readonly restartTotals: readonly RestartTotal[];
  status(): Promise<LocalPipelineStatus>;
  watchRequests(watcher: RequestWatcher): () => void;
}

/** How to observe. */
export interface ObserverOptions {
  /** Requests that have ended and are shown with their timeline, 1 to 1000; default 50. */
  recentRequests?: number;
  /** Tenants that metrics name, 1 to 1000; default 32. The rest is `other`. */
  maxTenants?: number;
  /** How often the pipeline is looked at while somebody does, in ms, 100 to 60 000; default 1000. */
  intervalMs?: number;
  /** Makes spans of requests; see openSpans(). */
  spans?: RequestSpans | undefined;
}

/** Made by {@link Observer.attach}. */
export class Observer implements Disposable {
  /** Which metrics there are. */
  readonly heads: readonly Omit<MetricFamily, 'values'>[] = METRICS;
  private readonly pipeline: Observable;
  private readonly log: RequestLog;
  private readonly recentRequests: number;
  private readonly maxTenants: number;
  private readonly intervalMs: number;
  private readonly samples = new Samples();
  private readonly totals = new Totals();
  private readonly stopWatching: () => void;
  private listeners: ((snapshot: Snapshot) => void)[] = [];
  private timer: NodeJS.Timeout | undefined;
  private looking: Promise<Sample> | undefined;
  private closed = false;

  private constructor(pipeline: Observable, options: ObserverOptions) {
    this.pipeline = pipeline;
    this.recentRequests = checkInteger('recentRequests', options.recentRequests ?? 50, 1, 1000);
    this.maxTenants = checkInteger('maxTenants', options.maxTenants ?? 32, 1, 1000);
    this.intervalMs = checkInteger('intervalMs', options.intervalMs ?? 1000, 100, 60_000);
    this.log = new RequestLog(pipeline.workflow.spec, this.recentRequests, this.maxTenants);
    this.stopWatching = pipeline.watchRequests(countRequests(this.log, options.spans));
  }

  /**
   * Begins to count the requests of a pipeline.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT
   */
  static attach(pipeline: Observable, options: ObserverOptions = {}): Observer {
    checkObject('pipeline', pipeline);
    checkFunction('pipeline.watchRequests', pipeline.watchRequests);
    return new Observer(pipeline, checkObject('options', options));
  }

  /**
   * What there is to see now.
   *
   * @throws RdmaError RDMA_ERR_CLOSED when the pipeline is closed
   */
  async snapshot(): Promise<Snapshot> {
    return this.snapshotOf(await this.look());
  }

  /** All metrics now; see metrics.ts. @throws as {@link Observer.snapshot} */
  async metrics(): Promise<MetricFamily[]> {
    const sample = await this.look();
    return metricFamilies({ sample, snapshot: this.snapshotOf(sample), totals: this.totals });
  }

  // One look for all who ask at the same time.
  private look(): Promise<Sample> {
    this.looking ??= this.takeSample().finally(() => {
      this.looking = undefined;
    });
    return this.looking;
  }

  private async takeSample(): Promise<Sample> {
    const status = await this.pipeline.status();
    const sample = { takenAtMs: performance.now(), wallMs: Date.now(), status, requests: this.log.counts() };
    this.samples.add(sample);
    this.totals.add(status);
    return sample;
  }

  private snapshotOf(sample: Sample): Snapshot {
    const { samples, pipeline } = this;
    return makeSnapshot({
      spec: pipeline.workflow.spec,
      device: pipeline.device,
      now: sample,
      before: samples.forRates,
      minuteBefore: samples.forPercentiles,
      restarts: pipeline.restarts,
      restartTotals: pipeline.restartTotals,
      recent: this.log.recent(this.recentRequests),
      maxTenants: this.maxTenants,
    });
  }

  /**
   * Calls a function with a snapshot at once and then in each interval; while the pipeline cannot be looked at, it is
   * not called. What it throws ends nothing.
   *
   * @returns ends that
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT
   */
  subscribe(listener: (snapshot: Snapshot) => void): () => void {
    const wrapped = tellerOf(
      'a listener of snapshots',
      checkFunction<(snapshot: Snapshot) => void>('listener', listener),
    );
    this.listeners.push(wrapped);
    if (this.timer === undefined && !this.closed) {
      this.timer = setInterval(() => this.publish(), this.intervalMs);
      this.timer.unref();
      this.publish();
    }
    return () => {
      this.listeners = this.listeners.filter((other) => other !== wrapped);
      if (this.listeners.length === 0) this.stopTimer();
    };
  }

  private publish(): void {
    // A process that does not answer takes a second: no subscriber gets a snapshot twice then.
    if (this.looking !== undefined) return;
    this.snapshot().then(
      (snapshot) => {
        for (const listener of this.listeners) listener(snapshot);
      },
      () => {}, // closed: a caller of snapshot() gets the error
    );
  }

  private stopTimer(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  /** Stops observing; the pipeline goes on. */
  close(): void {
    this.closed = true;
    this.stopWatching();
    this.listeners = [];
    this.stopTimer();
  }

  /** As {@link Observer.close}. */
  [Symbol.dispose](): void {
    this.close();
  }
}
