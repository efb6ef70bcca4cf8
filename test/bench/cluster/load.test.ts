// Proves that the cluster benchmark counts each request once, calls a wrong answer a failure, and takes medians.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { checkAnswer, ClusterLoad } from '../../../src/ts/bench/cluster/load.js';
import { ClusterRows } from '../../../src/ts/bench/cluster/result.js';
import { checkClusterBench, CLUSTER_PARTS } from '../../../src/ts/bench/cluster/settings.js';
import { heldAgainMs } from '../../../src/ts/bench/cluster/step.js';
import { readRuns, runsTwice } from '../../../src/ts/bench/cluster/work.js';
import { until } from '../../pipeline/support.js';

void t.test('each request is answered or failed', async (t) => {
  let sent = 0;
  let fails = 0;
  const call = async (n: number) => {
    sent++;
    await sleep(1);
    if (n % 3 === 0) fails++;
    checkAnswer(n, n % 3 === 0 ? n + 1 : n);
  };
  const load = new ClusterLoad({ peer: null, call }, 3, 0);
  await until('requests', () => load.answered >= 20 && fails > 0);
  const { answered, failed, p50Ms, p99Ms, reason } = await load.stop();
  t.equal(answered + failed, sent);
  t.equal(failed, fails);
  t.ok(p50Ms !== null && p99Ms !== null && p50Ms > 0 && p99Ms >= p50Ms);
  t.match(reason, /was answered with that of/);
  t.match(load.take(), { answered: 0, failed: 0, p50Ms: null, reason: null }, 'figures begin again');
});

void t.test('what is done twice is seen', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'onepiece-test-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'runs');
  writeFileSync(file, 'infer 1 10\ninfer 2 10\nfinish 1 11\ninfer 1 12\n');
  t.equal(runsTwice(file), 1);
  t.same(readRuns(file)[0], { stage: 'infer', n: 1, pid: 10 });
  t.end();
});

void t.test('medians, and single figures', (t) => {
  const rows = new ClusterRows();
  rows.median({ test: 'a', what: 'a' }, [9, 1, 2]);
  rows.median({ test: 'd', what: 'd' }, [4, 8]);
  rows.add({ test: 'b', what: 'b', value: 4, unit: 'ms' });
  rows.add({ test: 'c', what: 'c', value: null, unit: 'ms' });
  t.match(rows.rows, [
    { value: 2, samples: [9, 1, 2], unit: 'ms', peer: null },
    { value: 8 },
    { value: 4 },
    { value: null },
  ]);
  t.end();
});

void t.test('settings', (t) => {
  t.match(checkClusterBench({}), { only: CLUSTER_PARTS, nodes: 3, awayS: 60, compareBullMq: true });
  const code = { code: 'RDMA_ERR_INVALID_ARGUMENT' };
  t.throws(() => checkClusterBench({ only: ['nothing' as never] }), code);
  t.throws(() => checkClusterBench({ nodes: 1 }), code);
  t.throws(() => checkClusterBench({ awayS: 0 }), code);
  t.end();
});

void t.test('after a step the SLO holds again behind the last window with too many late ones', (t) => {
  const every = (ms: number, isLate: (atMs: number) => boolean) =>
    Array.from({ length: 1000 / ms }, (_, i) => ({ atMs: i * ms, isLate: isLate(i * ms) }));
  t.equal(
    heldAgainMs(
      every(10, () => false),
      1000,
      100,
    ),
    0,
  );
  t.equal(
    heldAgainMs(
      every(10, (atMs) => atMs < 250),
      1000,
      100,
    ),
    300,
  );
  const one = every(5, (atMs) => atMs === 700);
  t.equal(heldAgainMs(one, 1000, 100), 0, 'one of twenty may be late');
  t.equal(heldAgainMs([{ atMs: -5, isLate: true }], 1000, 100), 0, 'what came before the step does not count');
  t.end();
});
