// What a chaos run on gateways is made of: how each job is submitted, how it may end, and the blows.
//
// Invariant: all of it follows from the seed; the gateways and the checker compute the same from the number of a job.
import type { SubmitOptions } from '../../src/ts/jobs/index.js';
import { type PipelineRequest, type RdmaError, tensor } from '../../src/ts/pipeline/index.js';
import { hash } from '../ring/chaos-plan.js';
import { planRequest, type RequestPlan, requestBytes } from './chaos-plan.js';

/** A cancel is lost with the gateway that was to make it. So such a job has a deadline too, so much later, in ms. */
const CANCEL_LOST_MS = 1500;

/** Each process has numbers of its own for its jobs. */
export const JOBS_PER_PROCESS = 100_000;

export const jobId = (n: number): string => `job-${n}`;

/** How job `n` is submitted, and after how many ms it is cancelled; undefined: never. */
export function planJob(
  seed: number,
  n: number,
): { plan: RequestPlan; request: PipelineRequest; options: SubmitOptions; cancelMs: number | undefined } {
  const plan = planRequest(seed, n);
  const { act, where, workMs, tenant, priority, abortMs, timeoutMs } = plan;
  const bytes = requestBytes(seed, plan);
  const deadlineMs = timeoutMs ?? (abortMs === undefined ? undefined : abortMs + CANCEL_LOST_MS);
  const options = { id: jobId(n), tenant, priority, ...(deadlineMs === undefined ? {} : { deadlineMs }) };
  const request = { meta: { n, act, where, workMs }, parts: { x: tensor('u8', [bytes.length], bytes) } };
  return { plan, request, options, cancelMs: abortMs };
}

/** How an accepted job may end; `ok` is with the right result. */
export function jobEndsOf({ act, abortMs, timeoutMs }: RequestPlan): string[] {
  const ends: string[] = [];
  if (act === 'work') ends.push('ok');
  if (act === 'throw') ends.push('RDMA_ERR_STAGE_FAILED');
  if (abortMs !== undefined) ends.push('RDMA_ERR_CANCELLED');
  // One that cannot be in time is refused by the pipeline: that is its outcome.
  if (abortMs !== undefined || timeoutMs !== undefined) ends.push('RDMA_ERR_DEADLINE', 'RDMA_ERR_REJECTED');
  return ends;
}

/** The words of a job that was begun as often as it may be, while its gateways ended. */
const BEGUN_TOO_OFTEN = /begun 3 times, and each time its process ended/;

/** The end of a job that has failed or was cancelled: its code, or words that no job may have. */
export function endOfError({ n, where }: RequestPlan, error: unknown): string {
  const { code, message } = error as RdmaError;
  if (code !== 'RDMA_ERR_STAGE_FAILED') return code ?? String(error);
  // Which stage it was is part of what a failure says.
  if (message.includes(`request ${n} fails in ${where}`)) return code;
  return BEGUN_TOO_OFTEN.test(message) ? 'begun too often' : message;
}

/**
 * `close`: the gateway ends in good order. `stop`: it is stopped for a while. `stage`, `two stages`: instances of it
 * are killed. `store`: the connections of all clients of the store break, or its server is killed and started again.
 */
export type GatewayFault = 'kill' | 'close' | 'stop' | 'stop and kill' | 'stage' | 'two stages' | 'store';

/** After these the gateway is another process. */
export const ENDING: readonly GatewayFault[] = ['kill', 'close', 'stop and kill'];

export interface GatewayBlow {
  fault: GatewayFault;
  /** It comes when so many more outcomes were reported; `early`: or so many ms after the start of a process. */
  after: number;
  early: boolean;
  earlyMs: number;
  /** Which gateway, and which of its processes: numbers that are taken modulo their counts. */
  gateway: number;
  victim: number;
  /** Of a stop. */
  lastsMs: number;
  /** Of `store`. */
  restarts: boolean;
}

const FAULTS: readonly GatewayFault[] = [
  'kill',
  'kill',
  'kill',
  'kill',
  'close',
  'stop',
  'stop and kill',
  'stage',
  'two stages',
  'store',
];

/** Blow `k` of a run. */
export function planGatewayBlow(seed: number, k: number, hasServer: boolean): GatewayBlow {
  const fault = FAULTS[hash(seed, k, 21) % FAULTS.length]!;
  return {
    // A store on disk has no server.
    fault: fault === 'store' && !hasServer ? 'kill' : fault,
    after: 1 + (hash(seed, k, 22) % 60),
    early: hash(seed, k, 23) % 5 === 0,
    earlyMs: hash(seed, k, 24) % 1000,
    gateway: hash(seed, k, 25),
    victim: hash(seed, k, 26),
    lastsMs: 20 + (hash(seed, k, 27) % 700),
    restarts: hash(seed, k, 28) % 2 === 0,
  };
}
