// The GPUs that are busy, whatever the fleet.
//
// Invariant: no request waits, nothing is loaded, and no GPU is idle. So no fleet of the same stages holds fewer.
import { taskSeconds } from '../profiles/costs.js';
import type { Compared } from './compared.js';
import { Held } from './held.js';
import { quantileOf } from './result.js';
import type { Workload } from './workload.js';

/** The lower bound for every fleet. @param bareS what each request takes alone, in s */
export function boundOf({ trace, costs }: Workload, bareS: Float64Array): Compared {
  const changes: [number, number][] = [];
  let busyGpuS = 0;
  for (let i = 0; i < trace.arrivalS.length; i++) {
    let atS = trace.arrivalS[i]!;
    for (const stage of costs[trace.model[i]!]!.stages) {
      const tookS = taskSeconds(stage, trace.units[i]!, trace.outputUnits[i]!);
      changes.push([atS, stage.gpus], [atS + tookS, -stage.gpus]);
      atS += tookS;
      busyGpuS += tookS * stage.gpus;
    }
  }
  changes.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const held = new Held(trace.lengthS);
  for (const [atS, by] of changes) held.change(atS, by);
  const { mean, p99, peak, hours } = held.summary();
  const sorted = Float64Array.from(bareS).sort();
  return {
    name: 'bound',
    requests: bareS.length,
    gpusMean: mean,
    gpusP99: p99,
    gpusPeak: peak,
    gpuHours: (mean * trace.lengthS) / 3600,
    sloMet: true,
    quantileRatio: 1,
    inTime: 1,
    rejected: 0,
    expired: 0,
    p50S: quantileOf(sorted, 0.5),
    p95S: quantileOf(sorted, 0.95),
    meanS: bareS.reduce((a, b) => a + b, 0) / bareS.length,
    loads: 0,
    adapterLoads: 0,
    actions: 0,
    busyGpuHours: busyGpuS / 3600,
    switchGpuHours: 0,
    hours,
    pools: [],
    nodeDeaths: 0,
    tasksAgain: 0,
    settings: undefined,
    hasGateway: false,
    how: 'busy GPU time: no wait, no load, no idle GPU',
  };
}
