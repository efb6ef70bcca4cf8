// Proves what stages make of what handlers do: results of every shape of graph, errors of every kind answered once with
// their stage and words, and that the instance and all other requests go on.
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import {
  type PipelineResult,
  RdmaError,
  type StageHandler,
  type StageOutput,
  workflow,
} from '../../src/ts/pipeline/index.js';
import { bytes, codeOf, failureOf, gate, Harness, until, within } from './support.js';

const here = { module: __filename };
const echo: StageHandler = (task) => ({ meta: task.input('request').meta });
const shown = (result: PipelineResult) => result.outputs.map((o) => `${o.stage}/${o.instance}:${o.meta.seen}`);
const never = () => {
  throw new Error('this must not run');
};

void t.test('sharded sinks, shards behind shards, and a stage behind the request and another one', async (t) => {
  const seen = (...lists: (readonly { stage: string; instance: number }[])[]) =>
    lists
      .flat()
      .map((input) => `${input.stage}${input.instance}`)
      .join('+');
  const graph = workflow('shapes', here)
    .stage('a', {
      instances: 2,
      spread: 'shard',
      handler: (task) => ({ meta: { seen: seen(task.inputs('request')) } }),
    })
    .stage('b', {
      after: ['a', 'request'],
      instances: 3,
      spread: 'shard',
      handler: (task) => ({ meta: { seen: seen(task.inputs('a'), task.inputs('request')) } }),
    })
    .stage('c', {
      after: ['request'],
      handler: (task) => ({ meta: { seen: `${task.instance} of ${task.instances}` } }),
    });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  for (let n = 0; n < 4; n++) {
    t.same(shown(await within('a result', pipeline.gateway.run({}))), [
      'b/0:a0+a1+request0',
      'b/1:a0+a1+request0',
      'b/2:a0+a1+request0',
      'c/0:0 of 1',
    ]);
  }
  const { trace } = await within('a result', pipeline.gateway.run({}, { trace: true }));
  t.equal(trace?.tasks.length, 6);
  t.equal(trace?.hops.length, 2 + 3 + 1 + 6 + 3 + 1);
  t.ok(trace?.hops.every(({ us }) => us !== undefined && us >= 0 && us < 1e6));
  t.equal((await within('a result', pipeline.gateway.run({}, { trace: false }))).trace, undefined);
});

void t.test('parts of any name travel, and results belong to the caller', async (t) => {
  const graph = workflow('names', here).stage('a', {
    handler: (task) => ({ meta: task.input('request').meta, parts: task.input('request').parts }),
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const parts = JSON.parse('{"__proto__":1,"constructor":2,"x":3}') as Record<string, never>;
  for (const [i, name] of Object.keys(parts).entries()) Object.defineProperty(parts, name, { value: bytes(i) });
  const meta = { constructor: 'a', prototype: 'b', nested: [{ deep: null }] };
  const first = await within('a result', pipeline.gateway.run({ meta, parts }));
  t.same(first.outputs[0]?.meta, meta);
  t.same(Object.keys(first.outputs[0]!.parts), ['__proto__', 'constructor', 'x']);
  await within('another', pipeline.gateway.run({ parts: { x: bytes(9, 9, 9, 9) } }));
  t.same([...first.outputs[0]!.parts.x!.data], [2]);
});

// What a handler may do wrong, by name.
function deeds(): Record<string, () => unknown> {
  const wordless = Object.create(null) as object;
  const hostile = new Error('hostile');
  Object.defineProperty(hostile, 'message', {
    get() {
      throw new Error('twice');
    },
  });
  const throws = (error: unknown) => () => {
    throw error;
  };
  const unasked = new Proxy(new Error('a proxy'), {
    getPrototypeOf() {
      throw new Error('who asks');
    },
  });
  const loop: Record<string, unknown> = {};
  loop.loop = loop;
  const thenable = (then: () => unknown) => () => ({ then });
  return {
    throws: throws(new Error('no such picture')),
    rejects: async () => throws(new RdmaError('RDMA_ERR_TIMEOUT', 'the model is busy'))(),
    'throws a string': throws('a plain string'),
    'throws nothing': throws(undefined),
    'rejects with nothing': () => Promise.reject(),
    'throws nothing to show': throws(wordless),
    'throws what throws': throws(hostile),
    'throws what cannot be asked': throws(unasked),
    'throws very much': throws(new Error('\u0001'.repeat(1_000_000))),
    'throws a code that is a number': throws(Object.assign(new Error('a number'), { code: 404 })),
    'throws our error with a number': throws(Object.assign(new RdmaError('RDMA_ERR_TIMEOUT', 'odd'), { code: 7 })),
    'answers undefined': () => undefined,
    'answers null': () => null,
    'answers a string': () => 'hello',
    'answers bare bytes': () => ({ parts: { x: new Uint8Array(4) } }),
    'answers a wrong shape': () => ({ parts: { x: { ...bytes(1, 2), shape: [3] } } }),
    'answers a long name': () => ({ parts: { ['n'.repeat(200)]: bytes(1) } }),
    'answers a cycle': () => ({ meta: loop }),
    'answers a bigint': () => ({ meta: { n: 1n } }),
    'answers NaN': () => ({ meta: { n: Number.NaN } }),
    'answers a list': () => ({ meta: [1] }),
    'answers text': () => ({ meta: 'text' }),
    'answers a date': () => ({ meta: new Date(0) }),
    'answers boxed text': () => ({ meta: new String('text') }),
    'answers too much': () => ({ parts: { x: { dtype: 'u8', shape: [400_000], data: new Uint8Array(400_000) } } }),
    'answers too much meta': () => ({ meta: { text: 'x'.repeat(2 ** 20) } }),
    'answers what throws': () => ({
      get meta(): never {
        throw new Error('not for you');
      },
    }),
    'answers a promise that throws': thenable(() => {
      throw new Error('no promise');
    }),
    'answers a promise that answers twice': () => ({
      // biome-ignore lint/suspicious/noThenProperty: it looks like a promise on purpose
      then: (resolve: (value: unknown) => void, reject: (reason: Error) => void) => {
        reject(new Error('first'));
        reject(new Error('second'));
        resolve({});
      },
    }),
    'has a then that cannot be read': () => ({
      // biome-ignore lint/suspicious/noThenProperty: it looks like a promise on purpose
      get then(): never {
        throw new Error('no then');
      },
    }),
  };
}

void t.test('whatever a handler throws or answers ends that request alone, with the stage and its words', async (t) => {
  const wrong = deeds();
  const graph = workflow('deeds', here)
    .stage('doer', {
      maxOutputBytes: 1024,
      handler: (task) => (wrong[String(task.input('request').meta.deed)] ?? (() => ({})))() as StageOutput,
    })
    .stage('asks', {
      handler: (task) =>
        (task.input('request').meta.deed === 'asks' ? task.input('doer' as 'request') : {}) as StageOutput,
    })
    .stage('after', { after: ['doer', 'asks'], handler: (task) => (task.input('asks').meta.ok === true ? {} : {}) });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const { gateway } = pipeline;
  for (const deed of Object.keys(wrong)) {
    const error = await failureOf(gateway.run({ meta: { deed } }));
    t.match(error, { code: 'RDMA_ERR_STAGE_FAILED', message: /stage doer failed: / }, deed);
    t.ok(error.message.length < 2500, 'in few words');
  }
  const asked = await failureOf(gateway.run({ meta: { deed: 'asks' } }));
  t.match(asked, { code: 'RDMA_ERR_STAGE_FAILED', message: /stage asks failed: .*no input from doer/ });
  t.equal(pipeline.count('after/0', 'task'), 0);
  t.equal(pipeline.failed('doer/0'), Object.keys(wrong).length);
  t.equal(await codeOf(gateway.run({})), 'ok', 'the instances go on');
  await pipeline.idle();
  t.same(pipeline.failures, []);
});

void t.test('a request whose one branch fails ends at once, whatever the others do', async (t) => {
  const long = gate();
  let stopped = false;
  const graph = workflow('branch', here)
    .stage('fails', {
      handler: () => {
        throw new Error('no');
      },
    })
    .stage('slow', {
      handler: async (task) => {
        await Promise.race([long.opened, new Promise((resolve) => task.signal.addEventListener('abort', resolve))]);
        stopped = task.signal.aborted;
        return {};
      },
    })
    .stage('behind', { after: ['slow'], handler: never })
    .stage('join', { after: ['fails', 'behind'], handler: never });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const error = await within('the failure', failureOf(pipeline.gateway.run({})), 2000);
  t.match(error, { code: 'RDMA_ERR_STAGE_FAILED', message: /stage fails failed: no/ });
  await pipeline.idle();
  t.ok(stopped, 'the other branch was aborted');
  t.equal(pipeline.count('join/0', 'task') + pipeline.count('behind/0', 'task'), 0);
  long.open();
});

void t.test('of two failures of one request the first counts', async (t) => {
  const second = gate();
  const graph = workflow('two', here)
    .stage('a', {
      handler: () => {
        throw new Error('a fails');
      },
    })
    .stage('b', {
      handler: async () => {
        await second.opened;
        throw new Error('b fails');
      },
    })
    .stage('c', { after: ['a', 'b'], handler: never });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  t.match(await failureOf(pipeline.gateway.run({})), { message: /stage a failed/ });
  second.open();
  await pipeline.idle();
});

void t.test('an instance runs as many tasks at a time as it may, in the order in which they came', async (t) => {
  let running = 0;
  let most = 0;
  const order: unknown[] = [];
  const graph = workflow('order', here).stage('a', {
    concurrency: 3,
    handler: async (task) => {
      most = Math.max(most, ++running);
      order.push(task.input('request').meta.n);
      await new Promise((resolve) => setImmediate(resolve));
      running--;
      return {};
    },
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  await within('all', Promise.all(Array.from({ length: 100 }, (_, n) => pipeline.gateway.run({ meta: { n } }))));
  t.equal(most, 3);
  t.same(
    order,
    Array.from({ length: 100 }, (_, n) => n),
  );
});

void t.test('a handler that answers at once and one that answers later are the same to everybody else', async (t) => {
  const graph = workflow('later', here)
    .stage('now', { handler: echo })
    .stage('later', {
      after: ['now'],
      handler: async (task) => {
        await new Promise((resolve) => setTimeout(resolve, 5));
        return { meta: task.input('now').meta };
      },
    });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const { outputs } = await within('a result', pipeline.gateway.run({ meta: { n: 1 } }));
  t.same(outputs[0]?.meta, { n: 1 });
});

void t.test('closing in the middle of a task ends it and answers its request', async (t) => {
  const begun = gate();
  let reason: string | undefined;
  const graph = workflow('closing', here).stage('a', {
    handler: (task) =>
      new Promise((_, reject) => {
        task.signal.addEventListener('abort', () => {
          reason = (task.signal.reason as RdmaError).code;
          reject(task.signal.reason);
        });
        begun.open();
      }),
  });
  const pipeline = await Harness.open(graph);
  const request = failureOf(pipeline.gateway.run({}));
  await within('the task', begun.opened);
  await within('the close', pipeline.close());
  t.match(await request, { code: 'RDMA_ERR_CLOSED' });
  t.match(await failureOf(pipeline.gateway.run({})), { code: 'RDMA_ERR_CLOSED' });
  t.equal(reason, 'RDMA_ERR_CLOSED');
  t.equal(pipeline.count('a/0', 'done'), 0);
  await until('no failure', () => pipeline.failures.length === 0);
});

// Keeps the processor for so long, as a handler does that computes.
function compute(us: number): StageOutput {
  const end = performance.now() + us / 1000;
  while (performance.now() < end);
  return {};
}

void t.test(
  'a stage that computes for a moment wakes who comes next; one that takes no time, or long, does not',
  async (t) => {
    const graph = workflow('announced', here)
      .stage('short', { handler: () => compute(150) })
      .stage('none', { after: ['short'], handler: () => ({}) })
      .stage('long', { after: ['none'], handler: () => compute(5000) });
    const pipeline = await Harness.open(graph);
    t.teardown(() => pipeline.close());
    const announced = (place: string) => pipeline.stages.get(place)!.status().announced;
    for (let n = 0; n < 500 && announced('short/0') < 20; n++) {
      await within('a result', pipeline.gateway.run({}));
      await sleep(2); // Longer than places poll.
    }
    t.ok(announced('short/0') >= 20, 'it was announced in 500 requests');
    t.ok(announced('none/0') < announced('short/0'), `${announced('none/0')} times`);
    t.equal(announced('long/0'), 0);
  },
);
