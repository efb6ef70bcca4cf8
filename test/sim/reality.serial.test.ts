// Proves that the simulator predicts a cluster of real processes, at two small points: within 10 % of GPU time and of
// the median, 20 % of p95 and 2 points of refused requests. The ten points of docs/planner.md are those of
// reality-main.ts.
import t from 'tap';
import { CLUSTER_DELAYS } from '../../src/ts/planner/fleet/fleet.js';
import { measurePoint } from './reality-cluster.js';
import { distanceOf, pointProfile, simulated, tenPoints } from './reality-points.js';

for (const index of [0, 1]) {
  const point = { ...tenPoints(20)[index]! };
  void t.test(point.name, async (t) => {
    const measured = await measurePoint(point);
    const distance = distanceOf(simulated(point, pointProfile(), CLUSTER_DELAYS), measured);
    t.ok(distance.isMet, JSON.stringify({ distance, measured: { ...measured, counts: undefined } }));
  });
}
