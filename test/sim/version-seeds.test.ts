// Proves for many seeds that versions of an app are deployed, taken back and rolled back without a request that fails,
// over a store that fails in every way.
import t from 'tap';
import { SeededChoices } from '../../src/ts/sim/choices.js';
import { countNotTime, sayProgress } from './progress.js';
import { playVersions, versionShapeOf } from './version-run.js';

countNotTime();
Error.stackTraceLimit = 0;
const SEEDS = 40;

void t.test(`the seeds 1 to ${SEEDS} keep all rules, and come to the wanted version`, { timeout: 0 }, async (t) => {
  const failures: string[] = [];
  let [releases, rolledBack, requests, failed] = [0, 0, 0, 0];
  for (let seed = 1; seed <= SEEDS && failures.length < 5; seed++) {
    sayProgress(t, seed);
    const verdict = await playVersions(new SeededChoices(seed), versionShapeOf(seed));
    releases += verdict.releases;
    rolledBack += verdict.rolledBack;
    requests += verdict.requests;
    failed += verdict.failedRequests;
    if (verdict.broken.length > 0) failures.push(`npm run sim -- --versions --seed ${seed}: ${verdict.broken[0]}`);
  }
  t.strictSame(failures, []);
  t.equal(failed, 0, 'no request of a client that renews its lease has failed');
  t.ok(releases > 4 * SEEDS && rolledBack >= SEEDS && requests > 200 * SEEDS, 'and much has happened');
  t.comment(`${releases} releases, ${rolledBack} taken back, ${requests} requests`);
});

void t.test('the same seed gives the same run of versions', { timeout: 0 }, async (t) => {
  const first = await playVersions(new SeededChoices(7), versionShapeOf(7));
  t.ok(first.steps > 500);
  t.strictSame(await playVersions(new SeededChoices(7), versionShapeOf(7)), first);
});
