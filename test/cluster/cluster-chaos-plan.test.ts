// Proves that the blows of a chaos on a cluster follow from its seed, and that a short run sees each kind of them.
import t from 'tap';
import { CLUSTER_FAULTS, clusterBlow } from './cluster-chaos-plan.js';

void t.test('a seed chooses the same blows each time, and each kind before any comes again', async (t) => {
  const how = { seed: 7, leaseMs: 1500, between: 60 };
  const blows = Array.from({ length: 10 * CLUSTER_FAULTS.length }, (_, n) => clusterBlow(n, how));
  t.same(
    blows,
    blows.map((_, n) => clusterBlow(n, how)),
  );
  for (let n = 0; n < blows.length; n += CLUSTER_FAULTS.length) {
    const round = blows.slice(n, n + CLUSTER_FAULTS.length).map(({ fault }) => fault);
    t.same(round.sort(), [...CLUSTER_FAULTS].sort());
  }
  t.not(blows[0]!.victim, clusterBlow(0, { ...how, seed: 8 }).victim);
  t.ok(blows.every(({ forMs, requestsAfter }) => forMs >= 50 && forMs < 4550 && requestsAfter <= 120));
});
