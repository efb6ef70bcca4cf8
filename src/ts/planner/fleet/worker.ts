// The state of one instance of a pool, and of one request on its way.
//
// Invariant: `leftS` of all tasks of a worker is as of its `atS`; both change together.
import type { AdmittedRequest } from '../../pipeline/admission.js';
import type { Expectation } from '../../pipeline/forecaster.js';
import type { Queued } from '../../pipeline/request-queue.js';
import type { PoolSpec } from './fleet.js';
import type { SimNode } from './nodes.js';

/** A request, as the shipped queue knows it and as it is simulated. */
export class Job implements Queued {
  readonly request: number;
  readonly model: number;
  readonly tenant: string;
  readonly priority = 0;
  readonly deadlineUs: number;
  readonly costClass = 0;
  /** Behind one gateway, what the forecast counts with; otherwise requests are alike. */
  units = 1;
  readonly bytes = 0;
  queuedAtUs = 0;
  chargeUs = 1;
  order = 0;
  step = 0;
  /** Of its task at the present step: seconds of work, alone on a node that is not slow. */
  workS = 0;
  leftS = 0;
  isWaiting = false;
  isWarm = true;
  /** Its task runs there. */
  worker: Worker | undefined;
  /** The plan under which its first task began; -1: it has not. */
  plan = -1;
  /** Behind one gateway: which instances do its steps. */
  admitted: AdmittedRequest | undefined;
  expectation: Expectation | undefined;
  /** It is done, refused, or its deadline has passed. */
  isOver = false;
  readonly hasAdapter: boolean;

  constructor(request: number, model: number, tenant: string, deadlineS: number, hasAdapter: boolean) {
    this.request = request;
    this.model = model;
    this.tenant = tenant;
    this.deadlineUs = deadlineS * 1e6;
    this.hasAdapter = hasAdapter;
  }
}

export class Worker {
  readonly pool: number;
  readonly node: SimNode;
  readonly readyS: number;
  readonly tasks: Job[] = [];
  /** Behind one gateway: jobs that were given to it and wait for their turn. */
  readonly given: Job[] = [];
  /** Models that it holds, the one used last at the end. */
  readonly models: number[] = [];
  /** Its process has loaded. */
  isLoaded = false;
  /** It takes tasks. */
  isReady = false;
  isEnding = false;
  isDead = false;
  /** It has done no task yet. */
  isCold = true;
  /** Counts changes: events with an earlier number are stale. */
  stamp = 0;
  atS = 0;
  /** Of all its tasks together, in seconds of work a second. */
  speed = 1;
  /** When it loads ahead of a request: until then; the model is in `models` already. */
  prefetchUntilS = 0;

  constructor(pool: number, node: SimNode, readyS: number) {
    this.pool = pool;
    this.node = node;
    this.readyS = readyS;
  }

  /** Brings its tasks up to now. */
  moveOn(nowS: number): void {
    const doneS = (nowS - this.atS) * this.speed;
    this.atS = nowS;
    const { tasks } = this;
    if (tasks.length === 0 || doneS === 0) return;
    const each = doneS / tasks.length;
    for (const job of tasks) job.leftS -= each;
  }

  /**
   * Its tasks have changed: ends that were foretold before are stale.
   *
   * @param gain as {@link PoolSpec.gain}
   * @returns when the first of its tasks ends if no other comes, in s; undefined: it has none
   */
  nextEndS(nowS: number, gain: PoolSpec['gain']): number | undefined {
    const { tasks } = this;
    this.stamp++;
    if (tasks.length === 0) return undefined;
    this.speed = (gain?.(tasks.length) ?? 1) / this.node.factor;
    let least = tasks[0]!.leftS;
    for (let i = 1; i < tasks.length; i++) least = Math.min(least, tasks[i]!.leftS);
    return nowS + (Math.max(0, least) * tasks.length) / this.speed;
  }
}
