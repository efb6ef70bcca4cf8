// Proves how requests enter and leave: what waits, what is rejected, what a deadline and an abort do everywhere, how
// many gateways share the places, and that every request ends once and leaves nothing.
import { getEventListeners } from 'node:events';
import t from 'tap';
import { type PipelineResult, RdmaError, type StageHandler, workflow } from '../../src/ts/pipeline/index.js';
import { bytes, codeOf, failureOf, gate, Harness, until, within } from './support.js';

const INVALID = 'RDMA_ERR_INVALID_ARGUMENT';
const here = { module: __filename };

// A stage whose tasks wait for the gate of their number.
function gated() {
  const gates = new Map<number, ReturnType<typeof gate>>();
  const most = { running: 0 };
  let running = 0;
  const handler: StageHandler = async (task) => {
    const { meta } = task.input('request');
    most.running = Math.max(most.running, ++running);
    await gates.get(Number(meta.n))?.opened;
    running--;
    return { meta };
  };
  return { gates, most, handler };
}
const echo: StageHandler = (task) => ({ meta: task.input('request').meta });

void t.test('as many as allowed are let in, as many as allowed wait, and the next is rejected', async (t) => {
  const { gates, most, handler } = gated();
  for (let n = 0; n < 5; n++) gates.set(n, gate());
  const graph = workflow('admit', here).stage('a', { concurrency: 64, handler });
  const pipeline = await Harness.open(graph, { maxInFlight: 3, maxQueued: 2 });
  t.teardown(() => pipeline.close());
  const { gateway } = pipeline;
  const five = [0, 1, 2, 3, 4].map((n) => codeOf(gateway.run({ meta: { n } })));
  t.same(gateway.load, { inFlight: 3, queued: 2 });
  t.equal(await codeOf(gateway.run({})), 'RDMA_ERR_REJECTED');
  await until('three tasks', () => pipeline.count('a/0', 'task') === 3);
  for (const { open } of gates.values()) open();
  t.same(await Promise.all(five), ['ok', 'ok', 'ok', 'ok', 'ok']);
  t.equal(most.running, 3);
  await pipeline.idle();
});

void t.test('an instance is given what it runs and a task more, and the rest waits at the gateway', async (t) => {
  const { gates, handler } = gated();
  for (let n = 0; n < 9; n++) gates.set(n, gate());
  const graph = workflow('prefetch', here).stage('a', { concurrency: 2, handler });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const nine = Array.from({ length: 9 }, (_, n) => codeOf(pipeline.gateway.run({ meta: { n } })));
  t.same(pipeline.gateway.load, { inFlight: 3, queued: 6 });
  await until('two tasks', () => pipeline.count('a/0', 'task') === 2);
  await pipeline.still();
  t.same(pipeline.stages.get('a/0')!.status().ready, 1);
  for (const { open } of gates.values()) open();
  t.ok((await Promise.all(nine)).every((code) => code === 'ok'));
});

void t.test('without a queue, whoever is not let in at once is rejected', async (t) => {
  const { gates, handler } = gated();
  gates.set(0, gate());
  gates.set(1, gate());
  const graph = workflow('no-queue', here).stage('a', { concurrency: 4, handler });
  const pipeline = await Harness.open(graph, { maxInFlight: 2, maxQueued: 0 });
  t.teardown(() => pipeline.close());
  const { gateway } = pipeline;
  const first = codeOf(gateway.run({ meta: { n: 0 } }));
  t.equal(await codeOf(gateway.run({ meta: { n: 9 } })), 'ok');
  t.equal(await codeOf(gateway.run({ meta: { n: 9 } })), 'ok', 'the oldest one keeps nobody out');
  const second = codeOf(gateway.run({ meta: { n: 1 } }));
  t.equal(await codeOf(gateway.run({ meta: { n: 2 } })), 'RDMA_ERR_REJECTED');
  for (const { open } of gates.values()) open();
  t.same([await first, await second], ['ok', 'ok']);
  t.equal(await codeOf(gateway.run({ meta: { n: 3 } })), 'ok');
});

void t.test('an abort answers at once, stops the task, frees its place once and leaves no listener', async (t) => {
  const reasons: string[] = [];
  const graph = workflow('abort', here).stage('a', {
    concurrency: 4,
    handler: (task) =>
      new Promise((resolve, reject) => {
        if (task.input('request').meta.n === 2) resolve({});
        task.signal.addEventListener('abort', () => {
          reasons.push((task.signal.reason as RdmaError).code);
          reject(task.signal.reason);
        });
      }),
  });
  const pipeline = await Harness.open(graph, { maxInFlight: 1, maxQueued: 2 });
  t.teardown(() => pipeline.close());
  const { gateway } = pipeline;
  const control = new AbortController();
  const inside = failureOf(gateway.run({ meta: { n: 0 } }, { signal: control.signal }));
  const waiting = failureOf(gateway.run({ meta: { n: 1 } }, { signal: control.signal }));
  const other = codeOf(gateway.run({ meta: { n: 2 } }));
  t.equal(getEventListeners(control.signal, 'abort').length, 1, 'one for all requests');
  await until('the first task', () => pipeline.count('a/0', 'task') === 1);
  control.abort(new Error('enough'));
  for (const error of await Promise.all([inside, waiting])) t.match(error, { code: 'RDMA_ERR_ABORTED' });
  t.equal(getEventListeners(control.signal, 'abort').length, 0);
  t.equal(await other, 'ok', 'the place is free at once');
  await until('the stopped task', () => reasons.length === 1);
  t.same(reasons, ['RDMA_ERR_ABORTED']);
  await pipeline.idle();
  t.equal(pipeline.count('a/0', 'task'), 2, 'what was aborted while it waited was never sent');
});

void t.test('a deadline answers in time, and ends the request everywhere', async (t) => {
  const reasons: string[] = [];
  const graph = workflow('late', here)
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
    .stage('beside', { handler: echo })
    .stage('after', { after: ['slow', 'beside'], handler: () => ({}) });
  const pipeline = await Harness.open(graph, { maxInFlight: 1 });
  t.teardown(() => pipeline.close());
  const { gateway } = pipeline;
  const began = performance.now();
  const late = await failureOf(gateway.run({ meta: { wait: true } }, { timeoutMs: 50 }));
  t.match(late, { code: 'RDMA_ERR_DEADLINE' });
  t.ok(performance.now() - began >= 49);
  await pipeline.idle();
  t.equal(reasons.length, 1);
  t.ok(['RDMA_ERR_DEADLINE', 'RDMA_ERR_ABORTED'].includes(reasons[0]!));
  t.equal(pipeline.count('after/0', 'task'), 0);
  t.equal(await codeOf(gateway.run({})), 'RDMA_ERR_STAGE_FAILED', 'the next is not late');
});

void t.test('a deadline that passes while the request waits ends it before anything was sent', async (t) => {
  const { gates, handler } = gated();
  gates.set(0, gate());
  const pipeline = await Harness.open(workflow('waits', here).stage('a', { handler }), { maxInFlight: 1 });
  t.teardown(() => pipeline.close());
  const first = codeOf(pipeline.gateway.run({ meta: { n: 0 } }));
  t.equal(await codeOf(pipeline.gateway.run({ meta: { n: 1 } }, { timeoutMs: 20 })), 'RDMA_ERR_DEADLINE');
  t.same(pipeline.gateway.load, { inFlight: 1, queued: 0 });
  gates.get(0)!.open();
  t.equal(await first, 'ok');
  t.equal(pipeline.count('a/0', 'task'), 1);
});

void t.test('a failure of the gateway ends whoever is in it, whoever waits, and whoever comes', async (t) => {
  const { gates, handler } = gated();
  gates.set(0, gate());
  const pipeline = await Harness.open(workflow('fails', here).stage('a', { handler }), {
    maxInFlight: 1,
    maxQueued: 9,
  });
  t.teardown(() => pipeline.close());
  const { gateway } = pipeline;
  const two = [0, 0].map((n) => codeOf(gateway.run({ meta: { n } })));
  await until('the first task', () => pipeline.count('a/0', 'task') === 1);
  gateway.fail(new RdmaError('RDMA_ERR_STAGE_FAILED', 'enough'));
  t.same(await Promise.all(two), ['RDMA_ERR_STAGE_FAILED', 'RDMA_ERR_STAGE_FAILED']);
  t.equal(await codeOf(gateway.run({})), 'RDMA_ERR_STAGE_FAILED');
  t.same(gateway.load, { inFlight: 0, queued: 0 });
  gates.get(0)!.open();
  await until('the late result', () => pipeline.unacknowledged('a/0', 'gateway/0') === 0);
  t.same(gateway.load, { inFlight: 0, queued: 0 });
  t.equal(pipeline.failures.length, 1);
});

void t.test('requests that cannot be sent are refused before anything is', async (t) => {
  const graph = workflow('refused', { ...here, maxRequestBytes: 1000 }).stage('a', { handler: echo });
  const pipeline = await Harness.open(graph, { maxInFlight: 1 });
  t.teardown(() => pipeline.close());
  const big = new Uint8Array(1001);
  const cases: [string, unknown, unknown, string][] = [
    ['too large', { parts: { x: { dtype: 'u8', shape: [1001], data: big } } }, {}, 'RDMA_ERR_MESSAGE_TOO_LARGE'],
    ['no object', undefined, {}, INVALID],
    ['meta that is text', { meta: 'text' }, {}, INVALID],
    ['meta that JSON would change', { meta: { x: Number.NaN } }, {}, INVALID],
    ['parts that are bytes', { parts: { x: new Uint8Array(3) } }, {}, INVALID],
    ['no time', {}, { timeoutMs: 0 }, INVALID],
    ['no signal', {}, { signal: 5 }, INVALID],
    ['views that are text', {}, { views: 'yes' }, INVALID],
    ['trace that is a number', {}, { trace: 1 }, INVALID],
    ['aborted', {}, { signal: AbortSignal.abort() }, 'RDMA_ERR_ABORTED'],
  ];
  for (const [name, request, options, code] of cases) {
    t.match(await failureOf(pipeline.gateway.run(request as object, options as object)), { code }, name);
  }
  t.equal(pipeline.count('a/0', 'task'), 0);
  t.same(pipeline.gateway.load, { inFlight: 0, queued: 0 });
});

void t.test('a slow request blocks nobody: one of two instances is stuck, all others finish', async (t) => {
  const stuck = gate();
  const isStuck = gate();
  const graph = workflow('stuck', here)
    .stage('a', {
      instances: 2,
      handler: async (task) => {
        const { n } = task.input('request').meta;
        if (n === 0) isStuck.open();
        if (n === 0) await stuck.opened;
        return { meta: { n } };
      },
    })
    .stage('b', { after: ['a'], handler: (task) => ({ meta: { n: task.input('a').meta.n } }) });
  const pipeline = await Harness.open(graph, { maxInFlight: 1024, maxQueued: 1024 });
  t.teardown(() => pipeline.close());
  const { gateway } = pipeline;
  // Measured tasks are short, so the prefetch is deep by then.
  for (let n = 1; n < 200; n++) await within('a result', gateway.run({ meta: { n } }));
  const first = gateway.run({ meta: { n: 0 } });
  await within('the stuck task', isStuck.opened);
  // By the time that these have taken it is known that nothing comes of that instance.
  for (let n = 200; n < 300; n++) await within('a result beside it', gateway.run({ meta: { n } }));
  const blocked = new Set<number>();
  const others = Array.from({ length: 600 }, (_, n) => {
    blocked.add(n);
    return gateway.run({ meta: { n: n + 1000 } }).then(({ outputs }) => {
      blocked.delete(n);
      return outputs[0]!.meta.n;
    });
  });
  const timer = setTimeout(stuck.open, 20_000);
  await until('the others', () => blocked.size === 0).catch(() => {});
  t.equal(blocked.size, 0, 'requests that wait behind the stuck one');
  clearTimeout(timer);
  stuck.open();
  t.same(
    await within('all', Promise.all(others)),
    Array.from({ length: 600 }, (_, n) => n + 1000),
  );
  t.equal((await first).outputs[0]!.meta.n, 0);
  await pipeline.idle();
});

void t.test('several gateways send into the same places, and each gets its own results', async (t) => {
  const graph = workflow('gateways', here)
    .stage('a', { instances: 2, handler: (task) => ({ meta: task.input('request').meta }) })
    .stage('b', { after: ['a'], spread: 'shard', instances: 2, handler: (task) => ({ meta: task.input('a').meta }) });
  const pipeline = await Harness.open(graph, { gateways: 3 });
  t.teardown(() => pipeline.close());
  const requests: Promise<PipelineResult>[] = [];
  for (let n = 0; n < 300; n++) {
    requests.push(pipeline.gateways[n % 3]!.run({ meta: { n, gateway: n % 3 }, parts: { x: bytes(n % 256) } }));
  }
  const results = await within('all', Promise.all(requests));
  results.forEach(({ outputs }, n) => {
    if (outputs.length !== 2 || outputs.some(({ meta }) => meta.n !== n || meta.gateway !== n % 3)) {
      t.fail(`request ${n} has another result`);
    }
  });
  t.equal(new Set(results.map(({ request }) => request)).size, 300, 'names of requests differ');
  await pipeline.idle();
});

void t.test('an abort at one gateway does not touch the requests of another with the same number', async (t) => {
  const gates = [gate(), gate()];
  const graph = workflow('apart', here).stage('a', {
    concurrency: 4,
    handler: async (task) => {
      await gates[Number(task.input('request').meta.gateway)]!.opened;
      return {};
    },
  });
  const pipeline = await Harness.open(graph, { gateways: 2 });
  t.teardown(() => pipeline.close());
  const control = new AbortController();
  const requests = pipeline.gateways.map((gateway, i) =>
    codeOf(gateway.run({ meta: { gateway: i } }, i === 0 ? { signal: control.signal } : {})),
  );
  await until('both tasks', () => pipeline.count('a/0', 'task') === 2);
  control.abort();
  t.equal(await requests[0], 'RDMA_ERR_ABORTED');
  gates[1]!.open();
  t.equal(await requests[1], 'ok');
  gates[0]!.open();
  await pipeline.idle();
});

void t.test('a gateway that wants to know is told of starts, progress, ends and failures', async (t) => {
  const graph = workflow('watched', here)
    .stage('a', {
      handler: (task) => {
        task.progress(0.25);
        task.progress(7);
        task.progress(Number.NaN);
        if (task.input('request').meta.fail === true) throw new Error('no');
        return {};
      },
    })
    .stage('b', { after: ['a'], handler: () => ({}) });
  const pipeline = await Harness.open(graph, { watched: true });
  t.teardown(() => pipeline.close());
  const { request } = await within('a result', pipeline.gateway.run({}));
  const seen = () => pipeline.told.map(({ type, stage, done }) => `${stage} ${type} ${done ?? ''}`.trim());
  t.same(seen().toSorted(), [
    'a done',
    'a progress 0',
    'a progress 0.25',
    'a progress 1',
    'a task',
    'b done',
    'b task',
  ]);
  t.ok(pipeline.told.every((event) => event.request === request));
  pipeline.told.length = 0;
  t.equal(await codeOf(pipeline.gateway.run({ meta: { fail: true } })), 'RDMA_ERR_STAGE_FAILED');
  t.ok(seen().includes('a failed'));
  t.notOk(seen().some((line) => line.startsWith('b')));
});

void t.test('an idle pipeline has nothing left, after results, failures, aborts and deadlines', async (t) => {
  const graph = workflow('idle', here)
    .stage('a', {
      concurrency: 4,
      handler: async (task) => {
        const { n } = task.input('request').meta;
        if (n === 1) throw new Error('no');
        if (n === 2) await new Promise((resolve) => task.signal.addEventListener('abort', resolve));
        return { meta: { n } };
      },
    })
    .stage('b', { instances: 2, handler: echo })
    .stage('c', { after: ['a', 'b'], handler: (task) => ({ parts: { x: bytes(1, 2) }, meta: task.input('b').meta }) });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const requests = Array.from({ length: 60 }, (_, n) =>
    codeOf(pipeline.gateway.run({ meta: { n: n % 3 } }, { timeoutMs: 300 })),
  );
  const codes = await Promise.all(requests);
  t.same([...new Set(codes)].sort(), ['RDMA_ERR_DEADLINE', 'RDMA_ERR_STAGE_FAILED', 'ok']);
  await pipeline.idle();
  t.same(pipeline.failures, []);
});
