// Closed forms of queues, where they are known.
//
// Invariant: exact for the model that each name says, and Infinity where work comes faster than it is done, never NaN.
import { checkInteger, invalidArgument } from '../core/validate.js';

function checkLoad(rate: number, serviceMs: number): void {
  if (!(rate >= 0 && rate < Infinity)) throw invalidArgument('rate', rate, 'a number per ms, 0 or more');
  if (!(serviceMs >= 0 && serviceMs < Infinity)) throw invalidArgument('serviceMs', serviceMs, 'ms, 0 or more');
}

/**
 * The probability that a task waits in M/M/c (Erlang C), by the recursion of Erlang B, which does not overflow.
 *
 * @param servers 1 or more
 * @param load arrivals per ms times ms of service, 0 or more
 * @returns 0 to 1; 1 where the load is as large as the servers or larger
 */
export function erlangC(servers: number, load: number): number {
  checkInteger('servers', servers, 1);
  checkLoad(load, 1);
  if (load >= servers) return 1;
  let blocked = 1;
  for (let n = 1; n <= servers; n++) blocked = (load * blocked) / (n + load * blocked);
  return blocked / (1 - (load / servers) * (1 - blocked));
}

/**
 * The probability that a task waits longer than `waitMs` in M/M/c, first come first served.
 *
 * @param rate arrivals per ms
 * @param serviceMs mean time of a task
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT
 */
export function mmcWaitsLonger(servers: number, rate: number, serviceMs: number, waitMs: number): number {
  checkLoad(rate, serviceMs);
  const load = rate * serviceMs;
  if (load === 0) return 0;
  if (load >= servers) return 1;
  return erlangC(servers, load) * Math.exp((-(servers - load) * Math.max(0, waitMs)) / serviceMs);
}

/** The mean wait in M/M/c in ms; arguments as in {@link mmcWaitsLonger}. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function mmcMeanWaitMs(servers: number, rate: number, serviceMs: number): number {
  checkLoad(rate, serviceMs);
  const load = rate * serviceMs;
  if (load >= servers) return Infinity;
  return (erlangC(servers, load) * serviceMs) / (servers - load);
}

/** The mean wait in M/D/1 in ms (Pollaczek and Khinchine, no variance). @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function md1MeanWaitMs(rate: number, serviceMs: number): number {
  checkLoad(rate, serviceMs);
  const load = rate * serviceMs;
  return load >= 1 ? Infinity : (load * serviceMs) / (2 * (1 - load));
}

/**
 * The mean time in the system in M/G/1 with processor sharing, in ms: it depends on the mean service alone.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT
 */
export function mg1PsMeanMs(rate: number, serviceMs: number): number {
  checkLoad(rate, serviceMs);
  const load = rate * serviceMs;
  return load >= 1 ? Infinity : serviceMs / (1 - load);
}

/** A question to {@link serversFor} and its answer. */
interface Answer {
  readonly rate: number;
  readonly serviceMs: number;
  readonly waitMs: number;
  readonly late: number;
  readonly most: number;
  readonly servers: number;
}

/** The last answers: a policy asks the same again at most ticks, and each answer takes as long as it has servers. */
const ANSWERS = 16;
const answers: Answer[] = [];
let oldest = 0;

/**
 * The fewest servers with which a part of at most `late` of the tasks waits longer than `waitMs`, by M/M/c.
 *
 * @param late 0 to 1, both excluded
 * @param most where the search ends
 * @returns 0 where nothing comes; `most` where more would be needed
 */
export function serversFor(rate: number, serviceMs: number, waitMs: number, late: number, most: number): number {
  checkLoad(rate, serviceMs);
  const load = rate * serviceMs;
  if (load === 0) return 0;
  for (let i = 0; i < answers.length; i++) {
    const each = answers[i]!;
    if (each.rate !== rate || each.serviceMs !== serviceMs || each.waitMs !== waitMs) continue;
    if (each.late === late && each.most === most) return each.servers;
  }
  const servers = searched(load, serviceMs, Math.max(0, waitMs), late, most);
  answers[oldest] = { rate, serviceMs, waitMs, late, most, servers };
  oldest = (oldest + 1) % ANSWERS;
  return servers;
}

// One pass over Erlang B, whose value for n servers comes from that for n - 1, with the terms of mmcWaitsLonger().
function searched(load: number, serviceMs: number, waitMs: number, late: number, most: number): number {
  if (most <= 1) return most;
  const least = Math.max(1, Math.floor(load));
  if (least >= most) return most;
  let blocked = 1;
  for (let n = 1; n < most; n++) {
    blocked = (load * blocked) / (n + load * blocked);
    if (n < least || load >= n) continue;
    const waits = blocked / (1 - (load / n) * (1 - blocked));
    if (waits * Math.exp((-(n - load) * waitMs) / serviceMs) <= late) return n;
  }
  return most;
}
