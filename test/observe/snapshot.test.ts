// Proves: a snapshot says how every place of the plan is, also of those that do not answer; rates are differences,
// without an earlier look they are unknown; a process that began again counts from 0; and it is JSON.
import t from 'tap';
import { RestartLog } from '../../src/ts/cluster/restart-log.js';
import { noOutcomes, OTHER } from '../../src/ts/observe/request-log.js';
import type { Sample } from '../../src/ts/observe/sample.js';
import { Samples } from '../../src/ts/observe/samples.js';
import { makeSnapshot } from '../../src/ts/observe/snapshot.js';
import { brokenPlace, latencyOf, type Scene, SPEC, statusOf } from './support.js';

function sampleOf(scene: Scene, takenAtMs: number, done = 0): Sample {
  const tenants = new Map([['default', { ...noOutcomes(), done }]]);
  const requests = { total: { ...noOutcomes(), done }, tenants, reasons: [], latency: latencyOf() };
  return { takenAtMs, wallMs: 1e12 + takenAtMs, status: statusOf(scene), requests };
}

const base = { spec: SPEC, device: 'soft0', restarts: [], restartTotals: [], recent: [], maxTenants: 3 };

void t.test('the first look has no rates, and says so', async (t) => {
  const now = sampleOf({ places: { 'decode/0': { tasks: 10, computeUs: [1000] } } }, 0, 10);
  const snapshot = makeSnapshot({ ...base, now, before: undefined, minuteBefore: undefined });
  t.equal(snapshot.rateMs, null);
  t.equal(snapshot.requests.perSecond, null);
  const decode = snapshot.stages.find(({ name }) => name === 'decode')!;
  t.match(decode.instances[0], { tasksPerSecond: null, busy: null, tasks: 10 });
  t.match(decode.compute, { count: 1, recent: false });
  t.equal(decode.queue, undefined);
  t.strictSame(JSON.parse(JSON.stringify(snapshot)).stages[0].name, 'text-encode');
  t.equal(snapshot.state, 'ready');
});

void t.test('rates are differences; a process that began again counts from 0', async (t) => {
  const lane = 'decode/0 assemble/0';
  const before = sampleOf(
    {
      places: {
        'decode/0': { tasks: 100, computeUs: [1e6] },
        'decode/1': { tasks: 500, incarnation: 1 },
        'decode/2': { tasks: 7 },
      },
      messages: { [lane]: 100 },
    },
    1000,
    50,
  );
  const now = sampleOf(
    {
      places: {
        'decode/0': { tasks: 120, computeUs: [1e6, 2e6], running: 1 },
        'decode/1': { tasks: 4, incarnation: 2 },
        'decode/2': { tasks: 7, running: 1 },
      },
      messages: { [lane]: 140 },
    },
    3000,
    70,
  );
  const snapshot = makeSnapshot({ ...base, now, before, minuteBefore: before });
  t.equal(snapshot.rateMs, 2000);
  t.equal(snapshot.requests.perSecond?.done, 10);
  const { instances, tasksPerSecond, compute } = snapshot.stages.find(({ name }) => name === 'decode')!;
  t.strictSame(
    instances.map((one) => one.tasksPerSecond),
    [10, 2, 0],
  );
  t.equal(tasksPerSecond, 12);
  t.equal(instances[0]?.busy, 0.5, '2 s in 2 s, of two that run at a time');
  t.equal(instances[2]?.busy, 0.5, 'a task that is longer than the samples are apart');
  t.match(compute, { count: 1, recent: true });
  const edge = snapshot.edges.find(({ from }) => from === 'decode');
  t.match(edge, { to: 'assemble', messagesPerSecond: 20, bytesPerSecond: 20_000, unacknowledged: 3 });
  t.match(
    snapshot.lanes.find(({ from }) => from === 'decode/0'),
    { to: 'assemble/0', messagesPerSecond: 20 },
  );
});

void t.test('every place is there, and how it is', async (t) => {
  const cases: [Scene, string, string][] = [
    [{ conditions: { 'decode/1': { state: 'starting' } } }, 'starting', 'degraded'],
    [{ silent: ['decode/1'] }, 'hung', 'degraded'],
    [{ conditions: { 'decode/1': { state: 'stopped' } } }, 'hung', 'degraded'],
    [{ conditions: { 'decode/1': brokenPlace('no model') } }, 'broken', 'degraded'],
    [{ conditions: { 'decode/3': { state: 'ready' } } }, 'ready', 'ready'],
    [{ conditions: { 'diffuse/3': brokenPlace('no model') } }, 'ready', 'down'],
    [{ silent: ['assemble/0'] }, 'ready', 'down'],
  ];
  for (const [scene, state, whole] of cases) {
    const now = sampleOf(scene, 0);
    const snapshot = makeSnapshot({ ...base, now, before: undefined, minuteBefore: undefined });
    const one = snapshot.stages.find(({ name }) => name === 'decode')!.instances[1]!;
    t.equal(one.state, state, JSON.stringify(scene));
    // What nobody knows is not 0.
    const figure = now.status.stages['decode/1'] === undefined ? null : 0;
    t.match(one, { running: figure, ready: figure, unsent: figure, open: figure, tasks: figure, failures: figure });
    t.equal(one.memoryBytes, figure === null ? null : 2 ** 20);
    t.equal(one.reason, scene.conditions?.['decode/1']?.reason?.message);
    const leaving = snapshot.stages.find(({ name }) => name === 'decode')!.instances[3];
    t.equal(leaving?.state, scene.conditions?.['decode/3'] === undefined ? undefined : 'draining');
    t.equal(snapshot.state, whole, JSON.stringify(scene));
  }
});

void t.test('restarts are counted by instance; tenants that wait are bounded', async (t) => {
  const restart = (instance: number) => ({
    stage: 'decode',
    instance,
    reason: instance === 0 ? 'hang: it was stopped' : 'killed by SIGKILL',
    at: 5,
    delayMs: 0,
    failed: [],
  });
  const tenants = ['default', 'a', 'b', 'c', 'd'].map((tenant) => ({ tenant, priority: 0, requests: 2, bytes: 0 }));
  const now = sampleOf({ queue: { requests: 10, oldestMs: 40, tenants, rejected: { 'queue-full': 3 } } }, 0);
  const log = new RestartLog();
  for (let i = 0; i < 30; i++) log.add(restart(i % 2));
  const { last: restarts, totals: restartTotals } = log;
  const snapshot = makeSnapshot({ ...base, restarts, restartTotals, now, before: undefined, minuteBefore: undefined });
  const decode = snapshot.stages.find(({ name }) => name === 'decode')!;
  t.strictSame(
    decode.instances.map((one) => one.restarts),
    [15, 15, 0],
  );
  t.strictSame(decode.restarts, { hang: 15, 'task-timeout': 0, cancel: 0, poison: 0, exit: 15 });
  t.equal(snapshot.restarts.count, 30);
  t.equal(snapshot.restarts.last.length, 20);
  t.match(snapshot.gateway, { queued: 10, oldestQueuedMs: 40, rejected: { 'queue-full': 3 } });
  t.strictSame(
    snapshot.tenants.map(({ tenant, queued }) => [tenant, queued]),
    [
      ['default', 2],
      ['a', 2],
      ['b', 2],
      [OTHER, 4],
    ],
  );
});

void t.test('samples: rates over some seconds, percentiles over a minute, and bounded', async (t) => {
  const samples = new Samples();
  let kept = 0;
  for (let second = 0; second <= 300; second++) {
    samples.add(sampleOf({}, second * 1000));
    kept = Math.max(kept, JSON.stringify(samples).split('takenAtMs').length - 1);
  }
  t.equal(samples.newest?.takenAtMs, 300_000);
  t.equal(samples.forRates?.takenAtMs, 295_000);
  t.ok(300_000 - samples.forPercentiles!.takenAtMs >= 60_000);
  t.ok(300_000 - samples.forPercentiles!.takenAtMs <= 70_000);
  t.ok(kept <= 16, `${kept} samples`);
});
