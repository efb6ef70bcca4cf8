// The shipped forecast of a newcomer, where each pool has a queue.
//
// Invariant: it counts the work that waits or runs in each pool on the way, and the instances that serve it or start.
// The task that runs is half done. Where an instance is free, nothing is ahead.
import { forecast, type StageAhead } from '../../pipeline/forecast.js';
import { readyAfterS, type StepSpec } from './fleet.js';
import type { Run } from './run.js';
import type { Job } from './worker.js';

export class PoolForecast {
  private readonly run: Run;
  /** By model, for each step the one before it; -1: the request itself. */
  private readonly before: readonly (readonly (readonly number[])[])[];

  constructor(run: Run) {
    this.run = run;
    this.before = run.fleet.routes.map((route) => route.map((_, i) => [i - 1]));
  }

  /** Until a newcomer is done, in µs. */
  completionUs(job: Job): number {
    const ahead = this.run.routeOf(job).map((step) => this.aheadOf(step, job.request));
    return forecast(this.before[job.model]!, ahead, 0).completionUs;
  }

  private aheadOf(step: StepSpec, request: number): StageAhead {
    const { pools, timeline } = this.run;
    const pool = pools[step.pool]!;
    const ownS = this.run.secondsOf(step, request);
    const startingUs: number[] = [];
    for (const worker of pool.starting) startingUs.push((worker.readyS - timeline.nowS) * 1e6);
    if (pool.workers.size === 0 && pool.spec.policy !== undefined) startingUs.push(readyAfterS(pool.spec) * 1e6);
    const servers = (pool.workers.size - pool.starting.size) * pool.spec.slots;
    const workUs = (pool.waitingS + (pool.running * ownS) / 2) * 1e6;
    return { workUs: pool.open.size > 0 ? 0 : workUs, servers, startingUs, ownUs: ownS * 1e6 };
  }
}
