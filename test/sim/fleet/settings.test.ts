// Proves what settings of an elastic fleet make of a pool.
import t from 'tap';
import { DEFAULT_SETTINGS, policyOf } from '../../../src/ts/planner/fleet/settings.js';
import { DEFAULT_SCALE_POLICY } from '../../../src/ts/planner/scaling.js';

const POOL = { loadS: 20, seconds: 3, waitS: 6, most: 7 };

void t.test('by default times are those of the shipped policy, and the SLO is the task and the wait', async (t) => {
  const policy = policyOf(DEFAULT_SETTINGS, POOL);
  t.same(policy, { ...DEFAULT_SCALE_POLICY, sloMs: 9000, max: 14, min: 0 });
});

void t.test('each setting changes what it says', async (t) => {
  const of = (more: Partial<typeof DEFAULT_SETTINGS>) => policyOf({ ...DEFAULT_SETTINGS, ...more }, POOL);
  t.equal(of({ downAfterLoads: 0.5 }).downAfterMs, 10_000);
  t.equal(of({ zeroAfterLoads: 0.1 }).zeroAfterMs, 2000);
  t.equal(of({ slack: 2 }).sloMs, 15_000);
  t.match(of({ quantile: 0.7, evidence: 3, zeroAfterGaps: 0 }), { quantile: 0.7, evidence: 3, zeroAfterGaps: 0 });
});

void t.test('a pool may have one instance, and no more than a policy can say', async (t) => {
  t.equal(policyOf(DEFAULT_SETTINGS, { ...POOL, most: 0 }).max, 1);
  t.equal(policyOf(DEFAULT_SETTINGS, { ...POOL, most: 1e6 }).max, 65_535);
});
