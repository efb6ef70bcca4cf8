// What a chaos run on a pipeline is made of: the requests, how each may end, and the blows.
//
// Invariant: all of it follows from the seed; stages and checker compute the same bytes from the number of a request.
import type { Meta } from '../../src/ts/pipeline/index.js';
import { hash } from '../ring/chaos-plan.js';

/** The stages that blows and requests name, each behind those that it takes from. */
export const stageNames = ['copy', 'sum', 'mix', 'join'] as const;
export type StageName = (typeof stageNames)[number];

/** What a handler does besides its work, in one stage. */
export type Act = 'work' | 'throw' | 'hang';

export interface RequestPlan {
  n: number;
  bytes: number;
  act: Act;
  /** Where it acts. */
  where: StageName;
  /** How long its work takes in each stage, in ms. */
  workMs: number;
  /** After how many ms the caller aborts it, and how many it has; undefined: never, and as many as it takes. */
  abortMs: number | undefined;
  timeoutMs: number | undefined;
  /** The caller takes the result as views of received memory. */
  views: boolean;
  tenant: string;
  priority: number;
}

/** Some go through the lane, some are left in the memory of their sender. */
const SIZES = [0, 1, 64, 1000, 5000, 40_000, 100_000];
export const MAX_BYTES = 100_000;
const TENANTS = ['red', 'green', 'blue'];

export function planRequest(seed: number, n: number): RequestPlan {
  const draw = hash(seed, n, 1);
  const kind = draw % 100;
  const act: Act = kind < 4 ? 'throw' : kind < 10 ? 'hang' : 'work';
  // What hangs is ended by its caller, by the one or by the other.
  const isEnded = act === 'hang' || kind >= 80;
  const byAbort = ((draw >>> 8) & 1) === 0;
  const afterMs = 1 + (hash(seed, n, 2) % 400);
  return {
    n,
    bytes: SIZES[hash(seed, n, 3) % SIZES.length]!,
    act,
    where: stageNames[hash(seed, n, 4) % stageNames.length]!,
    workMs: hash(seed, n, 5) % 4 === 0 ? hash(seed, n, 6) % 40 : 0,
    abortMs: isEnded && byAbort ? afterMs : undefined,
    timeoutMs: isEnded && !byAbort ? afterMs : undefined,
    views: ((draw >>> 9) & 1) === 0,
    tenant: TENANTS[hash(seed, n, 7) % TENANTS.length]!,
    priority: hash(seed, n, 8) % 3,
  };
}

/** How a request may end; `ok` is with the right result. It may be refused in any case. */
export function endsOf({ act, abortMs, timeoutMs }: RequestPlan): string[] {
  const ends = ['RDMA_ERR_REJECTED'];
  if (act === 'work') ends.push('ok');
  if (act === 'throw') ends.push('RDMA_ERR_STAGE_FAILED');
  if (abortMs !== undefined) ends.push('RDMA_ERR_ABORTED');
  if (timeoutMs !== undefined) ends.push('RDMA_ERR_DEADLINE');
  return ends;
}

/** The bytes of request `n`. */
export function requestBytes(seed: number, { n, bytes }: Pick<RequestPlan, 'n' | 'bytes'>): Uint8Array {
  let x = hash(seed, n, bytes, 9);
  return Uint8Array.from({ length: bytes }, () => {
    x = (Math.imul(x, 1_664_525) + 1_013_904_223) >>> 0;
    return x >>> 24;
  });
}

/** What a stage makes of bytes of request `n`: another permutation of their values for each stage and request. */
export function turned(stage: StageName, n: number, bytes: Uint8Array): Uint8Array {
  const key = hash(n, stageNames.indexOf(stage), 10);
  return bytes.map((byte, i) => byte + key + Math.imul(i, 31));
}

/** The sum over what shard `index` of `count` has of some bytes. */
export function shardSum(bytes: Uint8Array, index: number, count: number): number {
  let sum = 0;
  for (let i = index; i < bytes.length; i += count) sum += (bytes[i]! + 1) * ((i % 251) + 1);
  return sum;
}

/** What the last stage answers. */
export function rightResult(seed: number, plan: RequestPlan): { meta: Meta; bytes: Uint8Array } {
  const copied = turned('copy', plan.n, requestBytes(seed, plan));
  const bytes = turned('join', plan.n, turned('mix', plan.n, copied));
  return { meta: { n: plan.n, sum: shardSum(copied, 0, 1) }, bytes };
}

export type Fault = 'kill' | 'kill two' | 'stop' | 'stop and kill' | 'scale' | 'burst';

/** A blow: what happens, to whom, when, and for how long. */
export interface Blow {
  fault: Fault;
  /** It comes when so many more requests have ended. */
  after: number;
  /** Which of the processes that run, as a number that is taken modulo their count. */
  victim: number;
  /** Of a stop. */
  lastsMs: number;
  /** Of `scale`. */
  stage: StageName;
  instances: number;
  /** Of `burst`: requests at once. */
  requests: number;
}

const FAULTS: readonly Fault[] = [
  'kill',
  'kill',
  'kill two',
  'stop',
  'stop',
  'stop and kill',
  'scale',
  'scale',
  'burst',
];

/** Blow `k` of a run. */
export function planBlow(seed: number, k: number, between: number): Blow {
  return {
    fault: FAULTS[hash(seed, k, 11) % FAULTS.length]!,
    after: 1 + (hash(seed, k, 12) % (2 * between)),
    victim: hash(seed, k, 13),
    lastsMs: 20 + (hash(seed, k, 14) % 700),
    stage: stageNames[hash(seed, k, 15) % stageNames.length]!,
    instances: 1 + (hash(seed, k, 16) % 3),
    requests: 50 + (hash(seed, k, 17) % 150),
  };
}
