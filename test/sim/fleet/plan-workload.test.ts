// Proves that a factor on an input of a plan changes that input and no other.
import t from 'tap';
import { CLUSTER_DELAYS } from '../../../src/ts/planner/fleet/fleet.js';
import type { PlanInput } from '../../../src/ts/planner/fleet/plan.js';
import { widerOf, workOf } from '../../../src/ts/planner/fleet/plan-workload.js';
import { costsOf } from '../../../src/ts/planner/profiles/costs.js';
import { H100, poisson, shipped } from './workloads.js';

const profile = shipped('wan21-i2v-14b-480p-40');
const trace = poisson(1, 10, { models: ['a', 'b'] });
const input: PlanInput = {
  traceOf: () => trace,
  isSample: false,
  profilesOf: () => [profile, profile],
  gpu: H100,
  variants: 'base',
  sloFactor: 2,
  quantile: 0.95,
  maxRejected: 0,
  seeds: [1],
  bytesPerSecond: 1e9,
  maxQueued: 100,
};
const plain = costsOf(profile, H100);
const work = (factors = {}) => workOf(input, trace, [profile, profile], factors);

void t.test('without factors the costs are those of the profile, once for all models that have it', async (t) => {
  const { costs, sloFactor, delays } = work();
  t.same(costs, [plain, plain]);
  t.equal(costs[0], costs[1]);
  t.equal(sloFactor, 2);
  t.same(delays, CLUSTER_DELAYS);
});

void t.test('seconds of tasks, of single ones and of batches', async (t) => {
  const [one] = work({ seconds: 2 }).costs;
  for (const [i, stage] of one!.stages.entries()) {
    const own = plain.stages[i]!;
    t.equal(stage.seconds, 2 * own.seconds);
    t.same(
      stage.batches,
      own.batches.map(([size, seconds]) => [size, 2 * seconds]),
    );
    t.same([stage.loadSeconds, stage.switchSeconds], [own.loadSeconds, own.switchSeconds]);
  }
  t.equal(one!.wholeLoadSeconds, plain.wholeLoadSeconds);
});

void t.test('load and switch times', async (t) => {
  const [one] = work({ loads: 0.5 }).costs;
  t.equal(one!.wholeLoadSeconds, plain.wholeLoadSeconds / 2);
  for (const [i, stage] of one!.stages.entries()) {
    const own = plain.stages[i]!;
    t.same([stage.loadSeconds, stage.switchSeconds], [own.loadSeconds / 2, own.switchSeconds / 2]);
    t.equal(stage.seconds, own.seconds);
  }
});

void t.test('the SLO is never below the bare time; delays can be left out', async (t) => {
  t.equal(work({ slo: 1.2 }).sloFactor, 2.4);
  t.equal(work({ slo: 0.4 }).sloFactor, 1);
  t.equal(work({ delays: null }).delays, null);
});

void t.test('the widest stages are those with the most GPUs that the profile has figures of', async (t) => {
  const [wider] = widerOf([profile, profile], H100);
  const gpusOf = ({ stages }: typeof plain) => stages.map(({ gpus }) => gpus);
  t.equal(wider!.length, 2);
  t.ok(gpusOf(wider![0]!)[1]! > gpusOf(plain)[1]!, `${gpusOf(wider![0]!)} and ${gpusOf(plain)}`);
  t.same(gpusOf(wider![0]!)[0], gpusOf(plain)[0], 'the encoders have figures of one');
  t.same(widerOf([shipped('wan21-i2v-14b-480p-4-x8')], H100), [], 'one number of GPUs each');
});
