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

void t.test('a gateway that asks for events gets starts, progress, ends and failures', async (t) => {
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
  const outcomes = ['ok', 'RDMA_ERR_STAGE_FAILED', 'RDMA_ERR_DEADLINE'] as const;
  // What would wait for ever has a deadline; of the others every second one, which it may miss on a slow machine.
  const requests = Array.from({ length: 60 }, (_, i) => ({ n: i % 3, isTimed: i % 3 === 2 || i % 2 === 0 }));
  const codes = await Promise.all(
    requests.map(({ n, isTimed }) => codeOf(pipeline.gateway.run({ meta: { n } }, isTimed ? { timeoutMs: 300 } : {}))),
  );
  for (const [i, { n, isTimed }] of requests.entries()) {
    const isLate = isTimed && codes[i] === 'RDMA_ERR_DEADLINE';
    t.equal(isLate ? outcomes[n] : codes[i], outcomes[n], `request ${i}${isLate ? ', which came too late' : ''}`);
  }
  await pipeline.idle();
  t.same(pipeline.failures, []);
});

// A stage whose tasks end when the test ends them, in the order in which they began; it states an expected time.
function queueing(computeMs: number) {
  const waiting: (() => void)[] = [];
  const handler: StageHandler = async (task) => {
    await new Promise<void>((resolve) => {
      waiting.push(resolve);
      task.signal.addEventListener('abort', () => resolve());
    });
    return {};
  };
  return { waiting, options: { handler, cost: { computeMs } } };
}
const errorOf = (promise: Promise<unknown>): Promise<RdmaError> =>
  within('a failure', promise).then(
    () => new RdmaError('RDMA_ERR_PROTOCOL', 'it did not fail'),
    (error: RdmaError) => error,
  );

void t.test('a request that would be late is refused at once, with the time of a useful retry', async (t) => {
  const { options } = queueing(10_000);
  const graph = workflow('late', here)
    .stage('quick', { handler: echo, cost: { computeMs: 1 } })
    .stage('slow', { after: ['quick'], ...options });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const { gateway } = pipeline;
  const ahead = Array.from({ length: 8 }, () => codeOf(gateway.run({}, { priority: 1 })));
  const late = await errorOf(gateway.run({}, { timeoutMs: 60_000 }));
  t.match(late, { code: 'RDMA_ERR_REJECTED', stage: 'slow', message: /would be late/ });
  t.ok(late.expectedWaitMs! > 70_000 && late.expectedWaitMs! <= 80_000, `${late.expectedWaitMs} ms`);
  t.ok(late.retryAfterMs! > 30_000 && late.retryAfterMs! <= 40_000, `${late.retryAfterMs} ms`);
  t.equal(typeof late.retryToken, 'string');
  t.throws(() => gateway.check(0, { timeoutMs: 60_000 }), /would be late/);
  gateway.check(0, { timeoutMs: 120_000 });
  const tooSlow = await errorOf(gateway.run({}, { timeoutMs: 9000 }));
  t.match(tooSlow, { code: 'RDMA_ERR_REJECTED', stage: 'slow', retryAfterMs: undefined, message: /even alone/ });
  const urgent = codeOf(gateway.run({}, { timeoutMs: 60_000, priority: 2 }));
  t.equal(gateway.status().queue.rejected.deadline, 2);
  t.equal(gateway.status().queue.rejected['too-slow'], 1);
  t.equal(pipeline.count('quick/0', 'task') <= 2, true, 'what was refused cost nothing');
  await pipeline.close();
  t.same(
    await Promise.all([...ahead, urgent]),
    Array.from({ length: 9 }, () => 'RDMA_ERR_CLOSED'),
  );
});

void t.test('a request that looks too slow is let in when nothing else is there: costs may have changed', async (t) => {
  const graph = workflow('probe', here).stage('a', { handler: echo, cost: { computeMs: 1e6 } });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  t.equal(await codeOf(pipeline.gateway.run({}, { timeoutMs: 20_000 })), 'ok');
});

void t.test('what waits is bounded in bytes and by tenant, and a small tenant is let in beyond', async (t) => {
  const { options } = queueing(1);
  const graph = workflow('room', here).stage('a', options);
  const tenants = { few: { maxQueued: 1 }, little: { maxQueuedBytes: 10 } };
  const pipeline = await Harness.open(graph, { maxInFlight: 1, maxQueued: 4, maxQueuedBytes: 100, tenants });
  t.teardown(() => pipeline.close());
  const { gateway } = pipeline;
  const running: Promise<string>[] = [];
  const run = (tenant: string, size = 0) => {
    const promise = gateway.run({ parts: { x: bytes(...new Array<number>(size).fill(1)) } }, { tenant });
    running.push(codeOf(promise));
    return promise;
  };
  void run('big').catch(() => {});
  const refused = async (tenant: string, size: number, reason: RegExp) => {
    const error = await errorOf(run(tenant, size));
    t.match(error, { code: 'RDMA_ERR_REJECTED', message: reason });
    t.ok(error.retryAfterMs! >= 1);
  };
  run('few').catch(() => {});
  await refused('few', 0, /of the tenant wait/);
  await refused('little', 11, /tenant that wait hold/);
  run('big', 90).catch(() => {});
  await refused('big', 20, /hold as many bytes/);
  run('big').catch(() => {});
  run('big').catch(() => {});
  await refused('big', 0, /as many requests wait/);
  run('small').catch(() => {});
  await refused('small', 0, /as many requests wait/);
  const { queue } = gateway.status();
  t.same(queue.rejected, { 'tenant-full': 1, 'tenant-bytes': 1, 'queue-bytes': 1, 'queue-full': 2 });
  t.equal(queue.requests, 5);
  t.equal(queue.bytes, 90);
  t.match(queue.tenants, [
    { tenant: 'few', requests: 1 },
    { tenant: 'big', requests: 3, bytes: 90 },
    { tenant: 'small', requests: 1 },
  ]);
  await pipeline.close();
  await Promise.all(running);
});

void t.test('requests for a broken stage are refused with the reason, and wait for one that starts', async (t) => {
  const graph = workflow('broken', here)
    .stage('a', { handler: echo })
    .stage('b', { after: ['a'], instances: 2, handler: () => ({}) });
  const pipeline = await Harness.open(graph, { maxInFlight: 1 });
  t.teardown(() => pipeline.close());
  const { gateway } = pipeline;
  const reason = new RdmaError('RDMA_ERR_STAGE_FAILED', 'its model is missing');
  gateway.setAvailability({ stage: 1, instance: 0 }, { state: 'broken', reason, retryInMs: 5000 });
  for (let n = 0; n < 4; n++) {
    t.equal(await codeOf(gateway.run({})), 'ok', 'the other instance works');
  }
  t.equal(pipeline.count('b/0', 'task'), 0);
  gateway.setAvailability({ stage: 1, instance: 1 }, { state: 'starting', readyInMs: 1000 });
  const waiting = codeOf(gateway.run({ meta: { n: 1 } }));
  await pipeline.still();
  t.same(gateway.load, { inFlight: 0, queued: 1 });
  gateway.setAvailability({ stage: 1, instance: 1 }, { state: 'broken', reason, retryInMs: 7000 });
  t.equal(await waiting, 'RDMA_ERR_REJECTED');
  const refused = await errorOf(gateway.run({}));
  t.match(refused, { code: 'RDMA_ERR_REJECTED', stage: 'b', retryAfterMs: 5000, message: /its model is missing/ });
  gateway.setAvailability({ stage: 1, instance: 1 }, { state: 'ready' });
  t.equal(await codeOf(gateway.run({})), 'ok');
  await pipeline.idle();
});

void t.test('a caller that asks for retries comes again at the time that it got, within its deadline', async (t) => {
  const { waiting, options } = queueing(1);
  const graph = workflow('retry', here).stage('a', options);
  const pipeline = await Harness.open(graph, { maxInFlight: 1, maxQueued: 1 });
  t.teardown(() => pipeline.close());
  const { gateway } = pipeline;
  const first = codeOf(gateway.run({}));
  const second = codeOf(gateway.run({}));
  const third = codeOf(gateway.run({}, { retries: 100 }));
  t.equal(await codeOf(gateway.run({}, { retries: 2 })), 'RDMA_ERR_REJECTED', 'they are counted');
  t.equal(await codeOf(gateway.run({}, { retries: 100, timeoutMs: 30 })), 'RDMA_ERR_REJECTED', 'there is no time left');
  const control = new AbortController();
  const given = codeOf(gateway.run({}, { retries: 100, signal: control.signal }));
  control.abort();
  t.equal(await given, 'RDMA_ERR_ABORTED');
  for (let n = 0; n < 3; n++) {
    await until('a task', () => waiting.length > 0);
    waiting.shift()!();
  }
  t.same(await Promise.all([first, second, third]), ['ok', 'ok', 'ok']);
});
