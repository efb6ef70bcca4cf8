// The sizes of a fixed fleet.
//
// Invariant: the share of late requests over the whole trace is at most the given one, by simulation of each queue. The
// search is greedy: it starts where nobody is late and removes instances, the cheapest first.
import { taskSeconds } from '../profiles/costs.js';
import type { Workload } from './workload.js';

/** Above this many sizes of a group, the search takes larger steps. */
const TRIED = 40;

/** Requests that go through instances of their own, first come first served. */
export interface Group {
  readonly arrivalS: Float64Array;
  readonly serviceS: Float64Array;
  /** The time from coming to done that is in time. */
  readonly boundS: Float64Array;
}

/** How many requests of a group are late with this many instances, each with one task at a time. */
export function lateWith({ arrivalS, serviceS, boundS }: Group, servers: number): number {
  const free = new Float64Array(servers); // a heap of the times at which they are free
  let late = 0;
  for (let i = 0; i < arrivalS.length; i++) {
    const doneS = Math.max(arrivalS[i]!, free[0]!) + serviceS[i]!;
    if (doneS - arrivalS[i]! > boundS[i]! * (1 + 1e-9)) late++;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= servers) break;
      if (child + 1 < servers && free[child + 1]! < free[child]!) child++;
      if (free[child]! >= doneS) break;
      free[at] = free[child]!;
      at = child;
    }
    free[at] = doneS;
  }
  return late;
}

/** Late requests by size, from one instance until none is late. */
interface Curve {
  readonly sizes: number[];
  readonly late: number[];
}

function curveOf(group: Group): Curve {
  let high = 1;
  while (lateWith(group, high) > 0 && high < 65_536) high *= 2;
  let low = Math.max(1, high >> 1);
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lateWith(group, middle) > 0) low = middle + 1;
    else high = middle;
  }
  const step = Math.max(1, Math.ceil(high / TRIED));
  const sizes: number[] = [];
  for (let n = 1; n < high; n += step) sizes.push(n);
  sizes.push(high);
  return { sizes, late: sizes.map((n) => lateWith(group, n)) };
}

/**
 * Instances for each group with which a part of at most `lateShare` of all requests is late: from none late on, the
 * instances go first whose loss makes the fewest late.
 *
 * @param weights what an instance of each group costs, in GPUs
 * @returns at least 1 for each
 */
export function sizesFor(groups: readonly Group[], weights: readonly number[], lateShare: number): number[] {
  const curves = groups.map(curveOf);
  const at = curves.map(({ sizes }) => sizes.length - 1);
  const total = groups.reduce((sum, { arrivalS }) => sum + arrivalS.length, 0);
  let budget = Math.floor(lateShare * total);
  for (;;) {
    let [best, bestTo, cheapest] = [-1, 0, Number.POSITIVE_INFINITY];
    for (let g = 0; g < curves.length; g++) {
      const { sizes, late } = curves[g]!;
      const now = at[g]!;
      // Further steps may be cheaper a GPU than the first one.
      for (let to = now - 1; to >= 0; to--) {
        const cost = late[to]! - late[now]!;
        if (cost > budget) break;
        const each = cost / ((sizes[now]! - sizes[to]!) * weights[g]!);
        if (each < cheapest) [best, bestTo, cheapest] = [g, to, each];
      }
    }
    if (best < 0) return at.map((index, g) => curves[g]!.sizes[index]!);
    budget -= curves[best]!.late[bestTo]! - curves[best]!.late[at[best]!]!;
    at[best] = bestTo;
  }
}

/** The requests of each model at some of its stages. @param boundOf from a request's bare time and its time there */
export function groupsByModel(
  work: Workload,
  isOurs: (stage: string, shared: boolean) => boolean,
  adapterS: (model: number) => number,
  bareS: Float64Array,
  boundOf: (bareS: number, ownS: number) => number,
): Group[] {
  const { trace, costs } = work;
  const requests: number[][] = costs.map(() => []);
  for (let i = 0; i < trace.arrivalS.length; i++) requests[trace.model[i]!]!.push(i);
  return requests.map((list, model) => {
    const stages = costs[model]!.stages.filter(({ name, shared }) => isOurs(name, shared));
    const ownS = (i: number) => {
      let sum = trace.hasAdapter[i] === 1 ? adapterS(model) : 0;
      for (const stage of stages) sum += taskSeconds(stage, trace.units[i]!, trace.outputUnits[i]!);
      return sum;
    };
    return {
      arrivalS: Float64Array.from(list, (i) => trace.arrivalS[i]!),
      serviceS: Float64Array.from(list, ownS),
      boundS: Float64Array.from(list, (i) => boundOf(bareS[i]!, ownS(i))),
    };
  });
}

/** The requests of several groups as one, in the order in which they arrive. */
export function merged(groups: readonly Group[]): Group {
  const rows = groups.flatMap(({ arrivalS, serviceS, boundS }) => {
    return Array.from(arrivalS, (atS, i) => [atS, serviceS[i]!, boundS[i]!] as const);
  });
  rows.sort((a, b) => a[0] - b[0]);
  return {
    arrivalS: Float64Array.from(rows, ([atS]) => atS),
    serviceS: Float64Array.from(rows, ([, s]) => s),
    boundS: Float64Array.from(rows, ([, , s]) => s),
  };
}
