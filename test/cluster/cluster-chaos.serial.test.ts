// Proves that a cluster of real processes accounts for every request, whatever happens to its nodes, leader, workers,
// gateways and control store: see cluster-chaos.ts. The bounded part of `npm run chaos:cluster`.
import t from 'tap';
import { NO_NATS } from '../control/nats-server.js';
import { NO_REDIS } from '../jobs/redis-server.js';
import { runClusterChaos } from './cluster-chaos.js';
import { children, gone } from './support.js';

/** Another one in each run, so that the runs of a year see more than those of a day; a failure names it. */
const seed = 1 + (Math.floor(Date.now() / 1000) % 1_000_000_000);
/** Each kind of blow comes, and one or two more. */
const FAULTS = 16;
const MOST_MS = 240_000;
const missing = NO_NATS ?? NO_REDIS;
const skip = missing === undefined ? {} : { skip: missing };

t.setTimeout(0); // on a busy machine it takes as long as it takes

void t.test('whoever is killed, stopped, drained or replaced: every request has one right answer', skip, async (t) => {
  const summary = await runClusterChaos({
    seed,
    forMs: MOST_MS,
    faults: FAULTS,
    nodes: 3,
    gateways: 2,
    clients: 4,
    between: 60,
    onBlow: (blow) => t.comment(blow),
  });
  t.comment(JSON.stringify({ schemaVersion: 1, ...summary }));
  const { lost, twice, wrong, hung, problems, requests, faults, accepted } = summary;
  t.same({ lost, twice, wrong, hung, problems }, { lost: 0, twice: 0, wrong: 0, hung: 0, problems: [] });
  t.ok(faults > 0 && accepted > 0, `${requests} requests, ${faults} faults, ${accepted} jobs accepted`);
  t.ok(requests > faults, 'requests went on between the blows');
});

t.teardown(async () => {
  await gone(children(), 20_000);
});
