// The door of a gateway: it decides whether a request may wait at all, from the known costs of all requests.
//
// Invariant: an admitted request has room in the queue, and is expected to meet its deadline. A refusal says why
// and, where a retry helps, when.
import { RdmaError } from '../core/errors.js';
import type { Admission } from './admission.js';
import { MAX_CLASSES } from './cost-model.js';
import { type Cost, type Expectation, Forecaster } from './forecaster.js';
import { DEFAULT_QUEUED_BYTES, type GatewayOptions, type QueueStatus, type TenantLimits } from './gateway-options.js';
import { Rejections } from './rejection.js';
import { type Queued, RequestQueue } from './request-queue.js';
import { Reservations } from './reservations.js';
import type { Graph } from './routing.js';

/** What the door has to know of a newcomer. */
export interface Newcomer extends Cost {
  readonly tenant: string;
  readonly priority: number;
  /** Infinity: none. */
  readonly deadlineUs: number;
  readonly bytes: number;
  /** Of the rejection after which it comes back. */
  readonly retryToken: string | undefined;
}

const NO_LIMITS: TenantLimits = {};
/**
 * A request that is alone in the pipeline and looks too slow is let in once in so many microseconds: costs may have
 * changed.
 */
const PROBE_US = 1e6;

export class Door<T extends Queued> {
  readonly queue: RequestQueue<T>;
  readonly forecaster: Forecaster;
  readonly rejections = new Rejections();
  /** Requests that left the queue because they could not meet their deadline any more. */
  hopeless = 0;
  private readonly graph: Graph;
  private readonly admission: Admission;
  private readonly options: GatewayOptions;
  private readonly reservations: Reservations;
  private readonly ahead = new Float64Array(MAX_CLASSES);
  private lastProbeUs = Number.NEGATIVE_INFINITY;

  constructor(options: GatewayOptions, admission: Admission) {
    this.options = options;
    this.graph = options.graph;
    this.admission = admission;
    this.forecaster = new Forecaster(options.graph, admission);
    this.queue = new RequestQueue<T>((tenant) => this.limitsOf(tenant).weight ?? 1, MAX_CLASSES);
    this.reservations = new Reservations(options.incarnation.toString(36));
  }

  private limitsOf(tenant: string): TenantLimits {
    return this.options.tenants?.[tenant] ?? NO_LIMITS;
  }

  /**
   * Judges a newcomer by its deadline.
   *
   * @param isIdle no request is under way and none waits
   * @returns what is expected of it; undefined: it has no deadline, or costs are not known
   * @throws RdmaError RDMA_ERR_REJECTED
   */
  expect(newcomer: Newcomer, nowUs: number, isIdle: boolean): Expectation | undefined {
    const { broken } = this.admission;
    if (broken !== undefined) throw this.brokenError(broken);
    if (newcomer.deadlineUs === Number.POSITIVE_INFINITY) return undefined;
    const { queue, forecaster, ahead } = this;
    queue.ahead(newcomer, ahead);
    const expectation = forecaster.expect(newcomer, ahead, nowUs);
    const leftUs = newcomer.deadlineUs - nowUs;
    const asleep = this.admission.asleep(nowUs);
    if (asleep !== undefined && isLate(asleep, expectation, leftUs)) throw this.asleepError(asleep, leftUs);
    if (expectation === undefined) return undefined;
    const { completionUs, aloneUs, marginUs } = expectation;
    if (aloneUs > leftUs) {
      if (isIdle && nowUs - this.lastProbeUs > PROBE_US) {
        this.lastProbeUs = nowUs;
        return expectation;
      }
      throw this.tooSlowError(newcomer, expectation, leftUs);
    }
    const { retryToken } = newcomer;
    const isExpected = retryToken !== undefined && this.reservations.claim(retryToken, nowUs);
    const reservedUs = isExpected ? 0 : this.reservations.aheadUs(nowUs, leftUs);
    // Of those who come back it is known that there is room; the margin is for the others.
    const lateUs = completionUs + reservedUs + (isExpected ? 0 : marginUs) - leftUs;
    if (lateUs <= 0) return expectation;
    throw this.lateError(newcomer, expectation, lateUs - reservedUs, nowUs);
  }

  /**
   * Whether one more may wait.
   *
   * @throws RdmaError RDMA_ERR_REJECTED
   */
  checkRoom({ tenant, bytes, costClass, units }: Newcomer, nowUs: number): void {
    const { queue, options } = this;
    const { maxQueued, maxQueuedBytes = DEFAULT_QUEUED_BYTES } = options;
    const limits = this.limitsOf(tenant);
    const own = queue.of(tenant);
    const asleep = this.admission.asleep(nowUs);
    const turnMs = this.turnMs({ costClass, units }, nowUs) + (asleep?.readyInUs ?? 0) / 1000;
    const refuse = (reason: 'tenant-full' | 'tenant-bytes' | 'queue-full' | 'queue-bytes') => {
      const more = `${queue.size} wait, ${own.requests} of tenant ${tenant}`;
      const cause = asleep === undefined ? {} : { cause: this.sleepOf(asleep) };
      return this.rejections.make(reason, { retryAfterMs: turnMs, more, ...cause });
    };
    if (limits.maxQueued !== undefined && own.requests >= limits.maxQueued) throw refuse('tenant-full');
    if (limits.maxQueuedBytes !== undefined && own.bytes + bytes > limits.maxQueuedBytes) throw refuse('tenant-bytes');
    const sharers = queue.tenantCount + (own.requests === 0 ? 1 : 0);
    // A tenant alone has all; of several, one that has little is let in beyond the limit.
    const isSmall = (have: number, limit: number) => sharers > 1 && have < limit / (2 * sharers);
    if (queue.size >= maxQueued && !isSmall(own.requests, maxQueued)) throw refuse('queue-full');
    // One that is larger than all that may wait is let in where nobody waits.
    if (queue.size > 0 && queue.bytes + bytes > maxQueuedBytes && !isSmall(own.bytes + bytes, maxQueuedBytes)) {
      throw refuse('queue-bytes');
    }
  }

  // In how many ms one that waits has gone on.
  private turnMs(cost: Cost, nowUs: number): number {
    const { costs } = this.forecaster;
    let longestUs = 0;
    for (let stage = 0; stage < this.graph.spec.stages.length; stage++) {
      const { servers } = this.admission.capacity(stage, nowUs);
      const taskUs = cost.units * costs.unitUs(stage, cost.costClass);
      if (servers > 0 && taskUs > 0) longestUs = Math.max(longestUs, taskUs / servers);
    }
    return Math.max(1, longestUs / 1000);
  }

  /** The rejection of a request that has to pass a broken stage. */
  brokenError({ stage, reason, retryInMs }: NonNullable<Admission['broken']>): RdmaError {
    const { name } = this.graph.spec.stages[stage]!;
    const details = { stage: name, retryAfterMs: retryInMs, more: `${name}: ${reason.message}`, cause: reason };
    return this.rejections.make('stage-broken', details);
  }

  private asleepError(asleep: Asleep, leftUs: number): RdmaError {
    const retryAfterMs = asleep.readyInUs / 1000;
    const details = { stage: this.graph.spec.stages[asleep.stage]!.name, expectedWaitMs: retryAfterMs, retryAfterMs };
    const cause = this.sleepOf(asleep);
    const more = `${cause.message}, and the request has ${ms(leftUs)} ms`;
    return this.rejections.make('stage-asleep', { ...details, cause, more });
  }

  // As the cause of a rejection it says that nothing is overloaded.
  private sleepOf({ stage, readyInUs }: Asleep): RdmaError {
    const { name } = this.graph.spec.stages[stage]!;
    return new RdmaError('RDMA_ERR_BUSY', `${name} has one in ${ms(readyInUs)} ms`);
  }

  private tooSlowError(newcomer: Newcomer, { aloneUs }: Expectation, leftUs: number): RdmaError {
    const { spec } = this.graph;
    const { costs } = this.forecaster;
    let [slowest, mostUs] = [0, 0];
    spec.stages.forEach((_, stage) => {
      const us = newcomer.units * costs.unitUs(stage, newcomer.costClass);
      if (us > mostUs) [slowest, mostUs] = [stage, us];
    });
    const more = `${ms(aloneUs)} ms, and it has ${ms(leftUs)} ms`;
    return this.rejections.make('too-slow', { stage: spec.stages[slowest]!.name, expectedWaitMs: 0, more });
  }

  private lateError(newcomer: Newcomer, expectation: Expectation, lateUs: number, nowUs: number): RdmaError {
    const { completionUs, aloneUs, bottleneck } = expectation;
    const { spec } = this.graph;
    const stage = Math.max(0, bottleneck);
    const { servers } = this.admission.capacity(stage, nowUs);
    const taskUs = newcomer.units * this.forecaster.costs.unitUs(stage, newcomer.costClass);
    const costUs = servers > 0 ? taskUs / servers : taskUs;
    const { dueUs, token } = this.reservations.make(nowUs, Math.max(0, lateUs), costUs);
    const waitUs = Math.max(0, completionUs - aloneUs);
    const more = `it would wait for ${ms(waitUs)} ms, and be done in ${ms(completionUs)} ms`;
    return this.rejections.make('deadline', {
      stage: spec.stages[stage]!.name,
      retryAfterMs: (dueUs - nowUs) / 1000,
      retryToken: token,
      expectedWaitMs: waitUs / 1000,
      more,
    });
  }

  /** For operators. */
  status(nowUs: number): QueueStatus {
    const { queue } = this;
    let oldestUs = nowUs;
    for (const { queuedAtUs } of queue.list()) oldestUs = Math.min(oldestUs, queuedAtUs);
    return {
      requests: queue.size,
      bytes: queue.bytes,
      oldestMs: (nowUs - oldestUs) / 1000,
      tenants: queue.status(),
      rejected: { ...this.rejections.counts },
      hopeless: this.hopeless,
      reservations: this.reservations.status(),
    };
  }
}

type Asleep = NonNullable<ReturnType<Admission['asleep']>>;

// It has to wait for the start; also if it could run at once it would need its own time after it.
function isLate({ readyInUs }: Asleep, expectation: Expectation | undefined, leftUs: number): boolean {
  if (expectation === undefined) return readyInUs > leftUs;
  return expectation.aloneUs <= leftUs && Math.max(readyInUs, expectation.completionUs + expectation.marginUs) > leftUs;
}

function ms(us: number): string {
  return us < 10_000 ? (us / 1000).toFixed(1) : (us / 1000).toFixed(0);
}
