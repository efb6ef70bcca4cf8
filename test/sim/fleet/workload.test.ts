// Proves what is known of a workload before any fleet is built.
import t from 'tap';
import { bareOf, peakConcurrency } from '../../../src/ts/planner/fleet/workload.js';
import { bareSeconds } from '../../../src/ts/planner/profiles/costs.js';
import { poisson, wan } from './workloads.js';

void t.test('the bare time of a request is that of all its stages', async (t) => {
  const work = wan('wan21-i2v-14b-480p-40');
  const bareS = bareOf(work);
  t.equal(bareS.length, work.trace.arrivalS.length);
  const [units, outputUnits] = [work.trace.units[5]!, work.trace.outputUnits[5]!];
  t.equal(bareS[5], bareSeconds(work.costs[work.trace.model[5]!]!, units, outputUnits));
});

void t.test('the peak of concurrent requests, as when each moment is looked at', async (t) => {
  const trace = poisson(0.5, 2000, { models: ['a', 'b'] });
  const secondsOf = (i: number) => (trace.model[i] === 1 ? undefined : 1 + ((i * 7) % 23));
  let most = 0;
  for (let i = 0; i < trace.arrivalS.length; i++) {
    if (secondsOf(i) === undefined) continue;
    let now = 0;
    for (let j = 0; j <= i; j++) {
      const seconds = secondsOf(j);
      if (seconds !== undefined && trace.arrivalS[j]! + seconds > trace.arrivalS[i]!) now++;
    }
    most = Math.max(most, now);
  }
  t.ok(most > 5);
  t.equal(peakConcurrency(trace, secondsOf), most);
});

void t.test('a request that ends when the next one comes is not beside it', async (t) => {
  const trace = { ...poisson(1, 10), arrivalS: Float64Array.of(0, 2, 4) };
  t.equal(
    peakConcurrency(trace, () => 2),
    1,
  );
  t.equal(
    peakConcurrency(trace, () => 2.001),
    2,
  );
  t.equal(
    peakConcurrency(trace, () => undefined),
    0,
  );
});
