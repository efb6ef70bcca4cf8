// Proves: a pipeline is looked at only while somebody looks, once for all; a listener that throws or a pipeline that is
// closed harms nobody; what is no option is refused.
import t from 'tap';
import { Observer } from '../../src/ts/observe/index.js';
import type { Snapshot } from '../../src/ts/observe/snapshot.js';
import { RdmaError } from '../../src/ts/pipeline/index.js';
import { diamond, diamondRequest } from '../pipeline/workflows.js';
import { start } from '../cluster/support.js';
import { until } from '../pipeline/support.js';
import { ScenePipeline } from './support.js';

/** The first look at which every process answers. */
function readySnapshot(observer: Observer): Promise<Snapshot> {
  const look = async () => {
    const snapshot = await observer.snapshot();
    return snapshot.state === 'ready' && snapshot;
  };
  return until('a ready pipeline', look, 20_000);
}

/** NaN: an instance did not answer. */
function tasksOf({ stages }: Snapshot): number {
  const tasks = stages.flatMap(({ instances }) => instances.map((one) => one.tasks ?? Number.NaN));
  return tasks.reduce((sum, count) => sum + count, 0);
}

void t.test('nobody looks: nothing is asked', async (t) => {
  const pipeline = new ScenePipeline(() => ({}));
  const observer = Observer.attach(pipeline, { intervalMs: 100 });
  t.equal(pipeline.isWatched, true);
  await new Promise((resolve) => setTimeout(resolve, 250));
  t.equal(pipeline.asked, 0);
  const seen: Snapshot[] = [];
  const stops = [0, 1, 2].map(() => observer.subscribe((snapshot) => void seen.push(snapshot)));
  await until('three looks', () => seen.length >= 9);
  t.ok(pipeline.asked <= seen.length / 3 + 1, 'one look for three');
  for (const stop of stops) stop();
  const asked = pipeline.asked;
  await new Promise((resolve) => setTimeout(resolve, 250));
  t.equal(pipeline.asked, asked);
  observer.close();
  t.equal(pipeline.isWatched, false);
});

void t.test('those who ask at the same time share one look', async (t) => {
  const pipeline = new ScenePipeline(async () => {
    await new Promise((resolve) => setTimeout(resolve, 20));
    return {};
  });
  const observer = Observer.attach(pipeline);
  t.teardown(() => observer.close());
  await Promise.all([observer.snapshot(), observer.snapshot(), observer.metrics()]);
  t.equal(pipeline.asked, 1);
});

void t.test('a snapshot of a closed pipeline is an error; listeners go on', async (t) => {
  let closed = false;
  const pipeline = new ScenePipeline(() => {
    if (closed) throw new RdmaError('RDMA_ERR_CLOSED', 'closed');
    return {};
  });
  const observer = Observer.attach(pipeline, { intervalMs: 100 });
  t.teardown(() => observer.close());
  let heard = 0;
  observer.subscribe(() => void heard++);
  await until('a snapshot', () => heard > 0);
  closed = true;
  await t.rejects(observer.snapshot(), { code: 'RDMA_ERR_CLOSED' });
  closed = false;
  const before = heard;
  await until('another snapshot', () => heard > before);
});

void t.test('a listener that throws takes nothing from the others', async (t) => {
  const warnings: Error[] = [];
  const listener = (warning: Error) => void warnings.push(warning);
  process.on('warning', listener);
  t.teardown(() => process.off('warning', listener));
  const observer = Observer.attach(new ScenePipeline(() => ({})), { intervalMs: 100 });
  t.teardown(() => observer.close());
  let heard = 0;
  observer.subscribe(() => {
    throw new Error('careless');
  });
  observer.subscribe(() => void heard++);
  await until('two snapshots', () => heard >= 2);
  t.match(
    warnings.map(({ message }) => message),
    [/careless/],
  );
});

void t.test('options are checked', async (t) => {
  const pipeline = new ScenePipeline(() => ({}));
  const attach =
    (options: object, of: unknown = pipeline) =>
    () =>
      Observer.attach(of as ScenePipeline, options);
  for (const options of [{ intervalMs: 1 }, { maxTenants: 0 }, { recentRequests: 1.5 }]) {
    t.throws(attach(options), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  }
  t.throws(attach({}, {}), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  t.equal(pipeline.isWatched, false);
});

void t.test('of a real pipeline: requests, tasks, hops and timelines', async (t) => {
  const { pipeline } = await start(t, diamond);
  const observer = Observer.attach(pipeline);
  t.teardown(() => observer.close());
  const first = await observer.snapshot();
  t.equal(first.state, 'ready');
  for (let n = 0; n < 30; n++) await pipeline.run(diamondRequest(n).request, { tenant: 'a', trace: true });
  await t.rejects(pipeline.run(diamondRequest(1).request, { tenant: 'b', timeoutMs: -1 }));
  await new Promise((resolve) => setTimeout(resolve, 300));
  // On a busy machine a process may be silent for longer than a look waits.
  const snapshot = await readySnapshot(observer);
  t.match(snapshot.requests.total, { done: 30, failed: 1 });
  t.ok(snapshot.requests.perSecond!.done > 0);
  t.ok(snapshot.requests.latency!.p50Us > 0);
  t.match(snapshot.tenants, [
    { tenant: 'a', done: 30 },
    { tenant: 'b', failed: 1 },
  ]);
  t.equal(snapshot.recent.length, 31);
  const { timeline, totalUs } = snapshot.recent[5]!;
  t.ok(timeline!.length >= 8, `${timeline!.length} segments`);
  t.ok(timeline!.every(({ startUs, durationUs }) => startUs >= 0 && startUs + durationUs <= totalUs * 1.01 + 1));
  t.equal(tasksOf(snapshot), 30 * 4);
  t.ok(snapshot.edges.every(({ hop }) => hop !== undefined && hop.p50Us > 0));
});

void t.test('a process that does not answer has no figures; what it has counted comes again with it', async (t) => {
  const { pipeline } = await start(t, diamond, { heartbeatMs: 60_000 });
  const observer = Observer.attach(pipeline);
  t.teardown(() => observer.close());
  for (let n = 0; n < 10; n++) await pipeline.run(diamondRequest(n).request);
  t.equal(tasksOf(await readySnapshot(observer)), 10 * 4);
  const { pid, instance } = pipeline.processes.find(({ stage }) => stage === 'square')!;
  process.kill(pid, 'SIGSTOP');
  try {
    const { stages } = await observer.snapshot();
    const stopped = stages.find(({ name }) => name === 'square')!.instances.find((one) => one.instance === instance)!;
    const unknown = { running: null, ready: null, unsent: null, open: null, tasks: null, failures: null };
    t.match(stopped, { state: 'hung', ...unknown, memoryBytes: null });
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  t.equal(tasksOf(await readySnapshot(observer)), 10 * 4);
});

void t.test('a real pipeline loses a process: that is an event, and no counter goes back', async (t) => {
  const { pipeline } = await start(t, diamond);
  const observer = Observer.attach(pipeline);
  t.teardown(() => observer.close());
  const total = async (name: string) => {
    const family = (await observer.metrics()).find((one) => one.name === name)!;
    return family.values.reduce((sum, { value }) => sum + value, 0);
  };
  for (let n = 0; n < 20; n++) await pipeline.run(diamondRequest(n).request);
  const before = await total('onepiece_stage_tasks_total');
  t.ok(before >= 20 * 3, `${before} tasks`);
  const { pid } = pipeline.processes.find(({ stage }) => stage === 'scale')!;
  process.kill(pid, 'SIGKILL');
  await until('the replacement', () => pipeline.restarts.length > 0);
  for (let n = 0; n < 20; n++) await pipeline.run(diamondRequest(n).request);
  await until('all ready', () => pipeline.processes.length === 5);
  t.ok((await total('onepiece_stage_tasks_total')) >= before + 20 * 3);
  t.equal(await total('onepiece_stage_restarts_total'), 1);
  const { restarts, requests } = await observer.snapshot();
  t.match(restarts, { count: 1, last: [{ stage: 'scale', reason: /SIGKILL/ }] });
  t.equal(requests.total.done, 40);
});
