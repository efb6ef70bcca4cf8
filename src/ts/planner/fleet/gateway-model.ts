// One gateway before a fleet, of shipped parts: `Forecaster` says who is refused, and `Admission` chooses the
// instances of all steps when a request leaves the queue.
//
// Invariant: an instance takes what was chosen for it and nothing else, also while it ends. A plan has the workers that
// are ready and not ending.
import { Admission, type AdmittedRequest } from '../../pipeline/admission.js';
import { type Expectation, Forecaster } from '../../pipeline/forecaster.js';
import type { RequestQueue } from '../../pipeline/request-queue.js';
import { graphOf } from '../../pipeline/routing.js';
import { checkSpec } from '../../pipeline/spec.js';
import { RdmaError } from '../../core/errors.js';
import type { FaultRates, FleetSpec, PoolSpec } from './fleet.js';
import type { Job, Worker } from './worker.js';

const RESIDENT_LIMIT = 65_536;

/**
 * Whether one gateway can be before a fleet: for a chain of pools on nodes that stay. Where pools are scaled the fleet
 * needs `delays`: instances that are chosen for a later step are held by their plan. Instances may change their models,
 * but nothing may depend on who holds which: the gateway does not know.
 */
function canHaveGateway({ pools, routes, delays }: FleetSpec, { nodeDeathsPerHour }: FaultRates): boolean {
  if (delays === undefined && pools.some(({ policy }) => policy !== undefined)) return false;
  const isChain = routes.every((route) => route.length === pools.length && route.every(({ pool }, i) => pool === i));
  const isBlind = pools.every(({ resident, patienceS, prefetch }) => resident === 0 || (patienceS === 0 && !prefetch));
  return isChain && isBlind && nodeDeathsPerHour === 0;
}

/** Whether one gateway is right for a fleet: it can have one, and its instances are alike. */
export function isForGateway(fleet: FleetSpec, faults: FaultRates): boolean {
  return canHaveGateway(fleet, faults) && fleet.pools.every(({ resident }) => resident === 0);
}

export class GatewayModel {
  private readonly admission: Admission;
  private readonly forecaster: Forecaster;
  private readonly ahead = new Float64Array(1);
  private readonly workers: Map<number, Worker>[];
  private readonly numbers = new Map<Worker, number>();
  private readonly next: number[];
  private plan = 1;

  /** @throws RdmaError RDMA_ERR_NOT_SUPPORTED where it cannot be before a fleet */
  constructor(fleet: FleetSpec, faults: FaultRates) {
    const { pools, name } = fleet;
    if (!canHaveGateway(fleet, faults)) {
      const words =
        `fleet ${name}: one gateway is for a chain of pools on nodes that stay, where nothing depends on what an ` +
        'instance holds; scaled ones need delays';
      throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', words);
    }
    const graph = graphOf(checkSpec({ name: 'simulated', stages: pools.map(stageOf) }));
    this.workers = pools.map(() => new Map());
    this.next = pools.map(() => 0);
    this.admission = new Admission(graph, this.planNow(), RESIDENT_LIMIT);
    this.forecaster = new Forecaster(graph, this.admission);
  }

  private planNow() {
    const instances = this.workers.map((stage) => [...stage.keys()].filter((number) => !stage.get(number)!.isEnding));
    return { number: this.plan++, instances, gateways: [0] };
  }

  /** A worker is ready. */
  add(worker: Worker): void {
    const number = this.next[worker.pool]!++;
    this.workers[worker.pool]!.set(number, worker);
    this.numbers.set(worker, number);
    this.changed();
  }

  /** Workers have begun to end. */
  changed(): void {
    this.admission.adopt(this.planNow());
  }

  /** A worker is gone. */
  remove(worker: Worker): void {
    this.workers[worker.pool]!.delete(this.numbers.get(worker)!);
    this.numbers.delete(worker);
  }

  /** What a request takes alone, in s. */
  aloneS(job: Job): number {
    return this.forecaster.aloneUs(job) / 1e6;
  }

  /** Whether a newcomer will be in time, as the gateway's door sees it. @param queue what waits */
  isExpected(job: Job, queue: RequestQueue<Job>, nowS: number): boolean {
    const nowUs = nowS * 1e6;
    queue.ahead(job, this.ahead);
    const expectation = this.forecaster.expect(job, this.ahead, nowUs);
    if (expectation === undefined) return true;
    const { completionUs, aloneUs, marginUs } = expectation;
    const leftUs = job.deadlineUs - nowUs;
    if (aloneUs > leftUs || completionUs + marginUs > leftUs) return false;
    job.expectation = expectation;
    return true;
  }

  /** A request whose end was forecast took so long, or longer. */
  settled(expectation: Expectation, tookS: number): void {
    this.forecaster.settled(expectation, tookS * 1e6);
  }

  /** Lets the next request go; undefined: some step has no room. */
  admit(job: Job, nowS: number): AdmittedRequest | undefined {
    const admitted = this.admission.admit(nowS * 1e6);
    if (admitted !== undefined) this.forecaster.sent(job);
    return admitted;
  }

  /** Who does a step of a request. */
  workerOf({ route }: AdmittedRequest, step: number): Worker {
    return this.workers[step]!.get(route[step]!)!;
  }

  /** A request has done a step. */
  done(job: Job, stage: number, nowS: number): void {
    const [request, tookS] = [job.admitted!, job.workS];
    const nowUs = nowS * 1e6;
    const computeUs = tookS * 1e6;
    const queueUs = nowUs - request.admittedUs - computeUs; // the way takes no time here
    this.admission.done(request, { stage, instance: request.route[stage]! }, queueUs, computeUs, nowUs);
    this.forecaster.sample(stage, job, computeUs, false);
    this.forecaster.doneAt(stage, job);
  }

  /** A request has ended. */
  ended(job: Job): void {
    this.forecaster.ended(job.admitted!, job);
    this.admission.ended(job.admitted!);
  }
}

function stageOf({ slots, hintS }: PoolSpec, i: number) {
  const after = i === 0 ? {} : { after: [`s${i - 1}`] };
  return {
    name: `s${i}`,
    ...after,
    concurrency: slots,
    cost: { computeMs: 1000 * hintS },
    scale: { min: 0, sloMs: 1 },
  };
}
