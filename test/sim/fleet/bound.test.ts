// Proves that the bound is the tasks of the trace, one after the other, and nothing else.
import t from 'tap';
import { boundOf } from '../../../src/ts/planner/fleet/bound.js';
import { bareOf } from '../../../src/ts/planner/fleet/workload.js';
import { poisson, wan } from './workloads.js';

const plain = wan('wan21-i2v-14b-480p-40', {}, 1);
const stages = plain.costs[0]!.stages.slice(0, 2).map((stage, i) => {
  return { ...stage, seconds: 10 + 10 * i, units: 'none' as const, gpus: 1 + i };
});
const trace = { ...poisson(1, 100), arrivalS: Float64Array.of(0, 20), lengthS: 100 };

void t.test('two requests of two stages, worked off by hand', async (t) => {
  // 0 to 10: 1 GPU; to 20: 2; to 30: 2 + 1; to 50: 2; then none.
  const work = { ...plain, trace, costs: [{ ...plain.costs[0]!, stages }] };
  const bound = boundOf(work, bareOf(work));
  t.equal(bound.gpusMean, (10 + 20 + 30 + 40) / 100);
  t.equal(bound.gpusPeak, 3);
  t.equal(bound.busyGpuHours, 100 / 3600);
  t.equal(bound.gpuHours, 100 / 3600);
  t.match(bound, { requests: 2, meanS: 30, p50S: 30, inTime: 1, loads: 0, pools: [] });
});
