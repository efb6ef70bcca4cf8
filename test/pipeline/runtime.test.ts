// Proves what stages make of what handlers do, in this process: results of every shape of graph, errors of every kind
// answered once with their stage and words, deadlines, aborts, admission, and that nothing is left of any of them.
import t from 'tap';
import {
  type PipelineResult,
  RdmaError,
  type StageHandler,
  type StageOutput,
  workflow,
} from '../../src/ts/pipeline/index.js';
import { Outbox } from '../../src/ts/ring/index.js';
import { bytes, DEVICE, gate, Harness, until, within } from './support.js';

const echo: StageHandler = (task) => ({ meta: task.input('request').meta });
const failure = async (promise: Promise<unknown>): Promise<{ code: string; message: string }> => {
  try {
    await within('an answer', promise);
  } catch (error) {
    return { code: (error as RdmaError).code, message: (error as Error).message };
  }
  return { code: 'none', message: 'it did not fail' };
};
const shown = (result: PipelineResult) => result.outputs.map((o) => `${o.stage}/${o.instance}:${o.meta.seen}`);

void t.test('sharded sinks, shards behind shards, and a stage behind the request and another one', async (t) => {
  const seen = (...lists: (readonly { stage: string; instance: number }[])[]) =>
    lists
      .flat()
      .map((input) => `${input.stage}${input.instance}`)
      .join('+');
  const graph = workflow('shapes', { module: __filename })
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
    .stage('c', { after: ['request'], instances: 2, handler: (task) => ({ meta: { seen: task.instance } }) });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  for (let n = 0; n < 4; n++) {
    t.same(shown(await within('a result', pipeline.proxy.run({}))), [
      'b/0:a0+a1+request0',
      'b/1:a0+a1+request0',
      'b/2:a0+a1+request0',
      `c/${n % 2}:${n % 2}`,
    ]);
  }
  const { trace } = await within('a result', pipeline.proxy.run({}));
  t.equal(trace.tasks.length, 6);
  t.equal(trace.hops.length, 2 + 3 + 1 + 6 + 3 + 1);
});

void t.test('parts of any name travel, and results belong to the caller', async (t) => {
  const graph = workflow('names', { module: __filename }).stage('a', {
    handler: (task) => ({ meta: task.input('request').meta, parts: task.input('request').parts }),
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const parts = JSON.parse('{"__proto__":1,"constructor":2,"x":3}') as Record<string, never>;
  for (const [i, name] of Object.keys(parts).entries()) Object.defineProperty(parts, name, { value: bytes(i) });
  const meta = { constructor: 'a', prototype: 'b', nested: [{ deep: null }] };
  const first = await within('a result', pipeline.proxy.run({ meta, parts }));
  t.same(first.outputs[0]?.meta, meta);
  t.same(Object.keys(first.outputs[0]!.parts), ['__proto__', 'constructor', 'x']);
  await within('another', pipeline.proxy.run({ parts: { x: bytes(9, 9, 9, 9) } }));
  t.same([...first.outputs[0]!.parts.x!.data], [2]);
});

void t.test('whatever a handler throws or answers ends that request alone, with the stage and its words', async (t) => {
  const wordless = Object.create(null) as object;
  const hostile = new Error('hostile');
  Object.defineProperty(hostile, 'message', {
    get() {
      throw new Error('twice');
    },
  });
  const deeds: Record<string, () => unknown> = {
    throws: () => {
      throw new Error('no such picture');
    },
    rejects: async () => {
      throw new RdmaError('RDMA_ERR_TIMEOUT', 'the model is busy');
    },
    'throws a string': () => {
      throw 'a plain string';
    },
    'throws nothing to show': () => {
      throw wordless;
    },
    'throws what throws': () => {
      throw hostile;
    },
    'throws very much': () => {
      throw new Error('\u0001'.repeat(1_000_000));
    },
    'answers undefined': () => undefined,
    'answers a string': () => 'hello',
    'answers bare bytes': () => ({ parts: { x: new Uint8Array(4) } }),
    'answers a wrong shape': () => ({ parts: { x: { ...bytes(1, 2), shape: [3] } } }),
    'answers a long name': () => ({ parts: { ['n'.repeat(200)]: bytes(1) } }),
    'answers a cycle': () => {
      const loop: Record<string, unknown> = {};
      loop.loop = loop;
      return { meta: loop };
    },
    'answers a bigint': () => ({ meta: { n: 1n } }),
    'answers a list': () => ({ meta: [1] }),
    'answers text': () => ({ meta: 'text' }),
    'answers a date': () => ({ meta: new Date(0) }),
    'answers boxed text': () => ({ meta: new String('text') }),
    'answers too much': () => ({ parts: { x: { dtype: 'u8', shape: [400_000], data: new Uint8Array(400_000) } } }),
    'answers too much meta': () => ({ meta: { text: 'x'.repeat(2 ** 20) } }),
    'asks for another input': () => {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'unused');
    },
  };
  const graph = workflow('deeds', { module: __filename })
    .stage('doer', {
      maxOutputBytes: 1024,
      handler: (task) => deeds[String(task.input('request').meta.deed)]?.() as StageOutput,
    })
    .stage('beside', { handler: echo })
    .stage('after', {
      after: ['doer', 'beside'],
      handler: () => {
        throw new Error('this must not run');
      },
    });
  const pipeline = await Harness.open(graph, { maxInFlight: 1 });
  t.teardown(() => pipeline.close());
  for (const deed of Object.keys(deeds)) {
    const error = await failure(pipeline.proxy.run({ meta: { deed } }));
    t.match(error, { code: 'RDMA_ERR_STAGE_FAILED', message: /stage doer failed: / }, deed);
    t.ok(error.message.length < 2500, 'in few words');
  }
  t.equal(pipeline.count('after/0', 'task'), 0);
  t.equal(pipeline.count('doer/0', 'failed'), 0, 'the instance goes on');
  t.same(pipeline.proxy.load, { inFlight: 0, queued: 0 });
});

void t.test('requests that cannot be sent are refused before anything is', async (t) => {
  const graph = workflow('refused', { module: __filename, maxRequestBytes: 1000 }).stage('a', { handler: echo });
  const pipeline = await Harness.open(graph, { maxInFlight: 1 });
  t.teardown(() => pipeline.close());
  const big = new Uint8Array(300_000);
  const cases: [string, unknown, unknown, string][] = [
    ['too large', { parts: { x: { dtype: 'u8', shape: [big.length], data: big } } }, {}, 'RDMA_ERR_MESSAGE_TOO_LARGE'],
    ['no object', undefined, {}, 'RDMA_ERR_INVALID_ARGUMENT'],
    ['meta that is text', { meta: 'text' }, {}, 'RDMA_ERR_INVALID_ARGUMENT'],
    ['parts that are bytes', { parts: { x: new Uint8Array(3) } }, {}, 'RDMA_ERR_INVALID_ARGUMENT'],
    ['no time', {}, { timeoutMs: 0 }, 'RDMA_ERR_INVALID_ARGUMENT'],
    ['no signal', {}, { signal: 5 }, 'RDMA_ERR_INVALID_ARGUMENT'],
    ['aborted', {}, { signal: AbortSignal.abort() }, 'RDMA_ERR_ABORTED'],
  ];
  for (const [name, request, options, code] of cases) {
    t.match(await failure(pipeline.proxy.run(request as object, options as object)), { code }, name);
  }
  t.equal(pipeline.count('a/0', 'task'), 0);
  t.same(pipeline.proxy.load, { inFlight: 0, queued: 0 });
});

void t.test('a trace too long for a message loses its oldest hops and not the request', async (t) => {
  const shards = { instances: 13, spread: 'shard', maxOutputBytes: 1024 } as const;
  const [a, b, c] = ['a', 'b', 'c'].map((letter) => letter.repeat(63)) as [string, string, string];
  const graph = workflow('wide', { module: __filename, maxRequestBytes: 1024 })
    .stage(a, { ...shards, handler: () => ({}) })
    .stage(b, { ...shards, after: [a], handler: () => ({}) })
    .stage(c, { ...shards, after: [b], handler: () => ({}) })
    .stage('d', { after: [c], maxOutputBytes: 1024, handler: (task) => ({ meta: { n: task.inputs(c).length } }) });
  const pipeline = await Harness.open(graph, { maxInFlight: 1 });
  t.teardown(() => pipeline.close());
  const { outputs, trace } = await within('a result', pipeline.proxy.run({}));
  t.same(outputs[0]?.meta, { n: 13 });
  t.ok(trace.hops.length < 13 + 169 + 169 + 13 + 1 && trace.hops.length > 200, `${trace.hops.length} hops`);
  t.equal(trace.tasks.length, 3 * 13 + 1);
});

void t.test('a stranger with the secret of the stage hurts nobody', async (t) => {
  const pipeline = await Harness.open(workflow('stranger', { module: __filename }).stage('a', { handler: echo }));
  t.teardown(() => pipeline.close());
  const to = pipeline.stages.get('a/0')!.address;
  const secret = 'for the tests only';
  const misled = await failure(Outbox.connect({ to, secret: `${secret}/b/0`, device: DEVICE, reconnectMs: 0 }));
  t.equal(misled.code, 'RDMA_ERR_UNAUTHENTICATED', 'who means another place does not get in');
  const outbox = await Outbox.connect({ to, secret: `${secret}/a/0`, device: DEVICE, retainMessages: 8 });
  t.teardown(() => outbox.close());
  for (const noise of [new Uint8Array(0), new Uint8Array(64), Buffer.from('OPM1 and nothing else')]) {
    await outbox.send(noise);
  }
  await until('the refusals', () => pipeline.count('a/0', 'refused') === 3);
  await within('the acknowledgement', outbox.whenAcknowledged());
  t.same((await within('a result', pipeline.proxy.run({ meta: { n: 1 } }))).outputs[0]?.meta, { n: 1 });
});

void t.test('closing in the middle of a task ends it and answers its request', async (t) => {
  const begun = gate();
  const graph = workflow('closing', { module: __filename }).stage('a', {
    handler: (task) =>
      new Promise((_, reject) => {
        task.signal.addEventListener('abort', () => reject(task.signal.reason));
        begun.open();
      }),
  });
  const pipeline = await Harness.open(graph);
  const request = failure(pipeline.proxy.run({}));
  await within('the task', begun.opened);
  await within('the close', pipeline.close());
  t.match(await request, { code: 'RDMA_ERR_CLOSED' });
  t.match(await failure(pipeline.proxy.run({})), { code: 'RDMA_ERR_CLOSED' });
  t.equal(pipeline.count('a/0', 'failed'), 0);
});
