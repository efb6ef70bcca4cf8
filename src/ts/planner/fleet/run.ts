// What all parts of one simulation share: the fleet and the trace, the time, the pools, their plans, and the tally.
//
// Invariant: there is one of each. `pools` and `drains` have the order of the fleet's pools.
import { taskSeconds } from '../profiles/costs.js';
import type { Trace } from '../traces/trace.js';
import type { FleetSpec, StepSpec } from './fleet.js';
import { drainsOf, type PlanDrain } from './plan-drain.js';
import { Pool } from './pool.js';
import { Tally } from './tally.js';
import { Timeline } from './timeline.js';
import type { Job } from './worker.js';

export class Run {
  readonly fleet: FleetSpec;
  readonly trace: Trace;
  readonly timeline = new Timeline();
  readonly pools: readonly Pool[];
  /** By pool; pools of one plan have the same. undefined: decisions take effect at once. */
  readonly drains: readonly PlanDrain[] | undefined;
  readonly tally: Tally;

  constructor(fleet: FleetSpec, trace: Trace) {
    this.fleet = fleet;
    this.trace = trace;
    this.pools = fleet.pools.map((spec, i) => new Pool(spec, i, trace.models.length, trace.lengthS));
    this.drains = fleet.delays === undefined ? undefined : drainsOf(fleet);
    this.tally = new Tally(trace.arrivalS.length);
  }

  /** The steps of a request. */
  routeOf(job: Job): readonly StepSpec[] {
    return this.fleet.routes[job.model]!;
  }

  /** The step at which a request is. */
  stepOf(job: Job): StepSpec {
    return this.fleet.routes[job.model]![job.step]!;
  }

  /** What a step of a request takes alone and warm, in s. */
  secondsOf(step: StepSpec, request: number): number {
    return taskSeconds(step, this.trace.units[request]!, this.trace.outputUnits[request]!);
  }
}
