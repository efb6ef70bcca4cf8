// Proves that never more requests are in the stages than were allowed, that more than may wait are rejected, and that
// deadlines and aborts answer at once, free their place exactly once and leave no listener.
import { getEventListeners } from 'node:events';
import t from 'tap';
import { type RdmaError, type StageHandler, workflow } from '../../src/ts/pipeline/index.js';
import { gate, Harness, until, within } from './support.js';

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  within('an answer', promise).then(
    () => 'ok',
    (error: RdmaError) => error.code,
  );

function gated() {
  const gates = new Map<number, ReturnType<typeof gate>>();
  let running = 0;
  const most = { running: 0 };
  const handler: StageHandler = async (task) => {
    const { meta } = task.input('request');
    most.running = Math.max(most.running, ++running);
    await gates.get(Number(meta.n))?.opened;
    running--;
    return { meta };
  };
  return { gates, most, handler };
}

void t.test('as many as allowed are let in, as many as allowed wait, and the next is rejected', async (t) => {
  const { gates, most, handler } = gated();
  for (let n = 0; n < 5; n++) gates.set(n, gate());
  const graph = workflow('admit', { module: __filename }).stage('a', { concurrency: 64, handler });
  const pipeline = await Harness.open(graph, { maxInFlight: 3, maxQueued: 2 });
  t.teardown(() => pipeline.close());
  const five = [0, 1, 2, 3, 4].map((n) => codeOf(pipeline.proxy.run({ meta: { n } })));
  t.same(pipeline.proxy.load, { inFlight: 3, queued: 2 });
  t.equal(await codeOf(pipeline.proxy.run({})), 'RDMA_ERR_REJECTED');
  await until('three tasks', () => pipeline.count('a/0', 'task') === 3);
  for (const { open } of gates.values()) open();
  t.same(await Promise.all(five), ['ok', 'ok', 'ok', 'ok', 'ok']);
  const many = Array.from({ length: 5 }, (_, i) => codeOf(pipeline.proxy.run({ meta: { n: 100 + i } })));
  t.same(await Promise.all(many), ['ok', 'ok', 'ok', 'ok', 'ok']);
  t.equal(most.running, 3);
});

void t.test('without a queue, whoever is not let in at once is rejected', async (t) => {
  const { gates, handler } = gated();
  gates.set(0, gate());
  const graph = workflow('no-queue', { module: __filename }).stage('a', { concurrency: 4, handler });
  const pipeline = await Harness.open(graph, { maxInFlight: 2, maxQueued: 0 });
  t.teardown(() => pipeline.close());
  const first = codeOf(pipeline.proxy.run({ meta: { n: 0 } }));
  t.equal(await codeOf(pipeline.proxy.run({ meta: { n: 1 } })), 'ok');
  t.equal(await codeOf(pipeline.proxy.run({ meta: { n: 2 } })), 'RDMA_ERR_REJECTED', 'too far ahead of the first');
  gates.get(0)?.open();
  t.equal(await first, 'ok');
  t.equal(await codeOf(pipeline.proxy.run({ meta: { n: 3 } })), 'ok');
});

void t.test('an aborted request answers at once, keeps its place until its result, and frees it once', async (t) => {
  const { gates, handler } = gated();
  for (const n of [0, 1, 2]) gates.set(n, gate());
  const graph = workflow('abort', { module: __filename }).stage('a', { concurrency: 4, handler });
  const pipeline = await Harness.open(graph, { maxInFlight: 1, maxQueued: 2 });
  t.teardown(() => pipeline.close());
  const control = new AbortController();
  const inside = codeOf(pipeline.proxy.run({ meta: { n: 0 } }, { signal: control.signal }));
  const waiting = codeOf(pipeline.proxy.run({ meta: { n: 1 } }, { signal: control.signal }));
  const other = codeOf(pipeline.proxy.run({ meta: { n: 2 } }));
  t.equal(getEventListeners(control.signal, 'abort').length, 2);
  await until('the first task', () => pipeline.count('a/0', 'task') === 1);
  control.abort();
  t.same(await Promise.all([inside, waiting]), ['RDMA_ERR_ABORTED', 'RDMA_ERR_ABORTED']);
  t.equal(getEventListeners(control.signal, 'abort').length, 0);
  t.same(pipeline.proxy.load, { inFlight: 1, queued: 1 });
  gates.get(2)?.open();
  gates.get(0)?.open();
  t.equal(await other, 'ok');
  t.equal(pipeline.count('a/0', 'task'), 2, 'what was aborted while it waited was never sent');
  t.same(pipeline.proxy.load, { inFlight: 0, queued: 0 });
});

void t.test('a deadline answers in time, and reaches the handler and those that come after', async (t) => {
  const reasons: unknown[] = [];
  const graph = workflow('late', { module: __filename })
    .stage('slow', {
      handler: (task) =>
        new Promise((_, reject) => {
          if (task.input('request').meta.wait !== true) reject(new Error('no waiting'));
          task.signal.addEventListener('abort', () => {
            reasons.push((task.signal.reason as RdmaError).code);
            reject(new Error('stopped, whatever for'));
          });
        }),
    })
    .stage('after', { after: ['slow'], handler: () => ({}) });
  const pipeline = await Harness.open(graph, { maxInFlight: 1 });
  t.teardown(() => pipeline.close());
  t.equal(await codeOf(pipeline.proxy.run({ meta: { wait: true } }, { timeoutMs: 50 })), 'RDMA_ERR_DEADLINE');
  await until('the free place', () => pipeline.proxy.load.inFlight === 0);
  t.same(reasons, ['RDMA_ERR_DEADLINE']);
  t.equal(pipeline.count('after/0', 'task'), 0);
  t.equal(await codeOf(pipeline.proxy.run({})), 'RDMA_ERR_STAGE_FAILED', 'the next is not late');
});

void t.test('a failure of the pipeline ends whoever is in it, whoever waits, and whoever comes', async (t) => {
  const { gates, handler } = gated();
  gates.set(0, gate());
  const graph = workflow('fails', { module: __filename }).stage('a', { handler });
  const pipeline = await Harness.open(graph, { maxInFlight: 1, maxQueued: 9 });
  t.teardown(() => pipeline.close());
  const two = [0, 0].map((n) => codeOf(pipeline.proxy.run({ meta: { n } })));
  await until('the first task', () => pipeline.count('a/0', 'task') === 1);
  const { RdmaError: Failure } = await import('../../src/ts/pipeline/index.js');
  pipeline.proxy.fail(new Failure('RDMA_ERR_STAGE_FAILED', 'enough'));
  t.same(await Promise.all(two), ['RDMA_ERR_STAGE_FAILED', 'RDMA_ERR_STAGE_FAILED']);
  t.equal(await codeOf(pipeline.proxy.run({})), 'RDMA_ERR_STAGE_FAILED');
  t.same(pipeline.proxy.load, { inFlight: 0, queued: 0 });
  gates.get(0)?.open();
  await until('the late result', () => pipeline.retained('a/0', 'result/0') === 0);
  t.same(pipeline.proxy.load, { inFlight: 0, queued: 0 });
  t.equal(pipeline.failures.length, 1);
});
