// Proves the rules of what a pipeline is made of: tensors, workflows, who works on which request, traces, envelopes.
import fc from 'fast-check';
import t from 'tap';
import { checkMeta, parseEnvelope } from '../../src/ts/pipeline/envelope.js';
import { copyTensor, DTYPES, elementBytes, elementCount, tensor } from '../../src/ts/pipeline/tensor.js';
import { boundTrace, type HopTrace, MAX_TRACE_BYTES, mergeTraces, type Trace } from '../../src/ts/pipeline/trace.js';
import { instancesFor, type StageOptions, type Workflow, workflow } from '../../src/ts/pipeline/workflow.js';
import { envelope } from './support.js';

const INVALID = { code: 'RDMA_ERR_INVALID_ARGUMENT' };
const handler = () => ({});
const begin = (name = 'flow') => workflow(name, { module: __filename });
const loose = (graph: unknown) => graph as { stage(name: unknown, options: unknown): Workflow };

void t.test('a tensor is made only of what agrees', async (t) => {
  for (const dtype of DTYPES) {
    const data = copyTensor({ dtype, shape: [0], data: tensorOf(dtype, 6) }).data;
    t.same(tensor(dtype, [2, 3], data), { dtype, shape: [2, 3], data });
    t.equal(data.BYTES_PER_ELEMENT, elementBytes(dtype));
    t.throws(() => tensor(dtype, [2, 2], data), INVALID);
    t.throws(() => tensor(dtype, [6], new DataView(data.buffer) as never), INVALID);
  }
  t.throws(() => tensor('f32', [1], new Float64Array(1)), INVALID);
  for (const dtype of ['f31', 'toString', '__proto__', undefined]) {
    t.throws(() => tensor(dtype as never, [1], new Uint8Array(1)), INVALID);
  }
  for (const shape of [undefined, 'x', [-1], [1.5], [Number.NaN], Uint8Array.of(1), [1, 1, 1, 1, 1, 1, 1, 1, 1]]) {
    t.throws(() => tensor('u8', shape as never, new Uint8Array(1)), INVALID);
  }
  t.same([elementCount([]), elementCount([0, 5]), elementCount([2 ** 30, 2 ** 30])], [1, 0, Number.NaN]);
});

function tensorOf(dtype: (typeof DTYPES)[number], count: number) {
  const kinds = { u8: Uint8Array, i8: Int8Array, u16: Uint16Array, i16: Int16Array, u32: Uint32Array, i32: Int32Array };
  const wide = { u64: BigUint64Array, i64: BigInt64Array, f16: Uint16Array, bf16: Uint16Array };
  const all = { ...kinds, ...wide, f32: Float32Array, f64: Float64Array };
  return new all[dtype](count);
}

void t.test('a copy of a tensor has memory of its own', async (t) => {
  const source = tensor('u8', [2], Uint8Array.of(1, 2));
  const copy = copyTensor(source);
  source.data[0] = 9;
  t.same([...copy.data], [1, 2]);
});

void t.test('a workflow goes forward only, under names that mean one thing', async (t) => {
  for (const name of ['', 'A', '1a', 'a_b', 'a/b', 'x'.repeat(64), 5, undefined]) {
    t.throws(() => workflow(name as string, { module: __filename }), INVALID);
    t.throws(() => loose(begin()).stage(name, { handler }), INVALID);
  }
  for (const taken of ['request', 'result', 'a']) {
    t.throws(() => loose(begin().stage('a', { handler })).stage(taken, { handler }), INVALID, taken);
  }
  const wrong: unknown[] = [
    undefined,
    {},
    { handler: 5 },
    { handler, after: ['later'] },
    { handler, after: ['b'] },
    { handler, after: [] },
    { handler, after: 'a' },
    { handler, instances: 0 },
    { handler, instances: 65 },
    { handler, instances: 1.5 },
    { handler, concurrency: 65 },
    { handler, spread: 'all' },
    { handler, maxOutputBytes: 0 },
    { handler, maxOutputBytes: 2 ** 30 + 1 },
  ];
  for (const options of wrong) t.throws(() => loose(begin()).stage('b', options), INVALID);
  t.throws(() => workflow('a', undefined as never), INVALID);
  t.throws(() => workflow('a', { module: '' }), INVALID);
  let many: Workflow = begin() as unknown as Workflow;
  for (let i = 0; i < 64; i++) many = loose(many).stage(`s${i}`, { handler });
  t.throws(() => loose(many).stage('one-more', { handler }), INVALID);
});

void t.test('any graph that can be made has no cycle, and every stage follows what it names', async (t) => {
  const plans = fc.array(fc.array(fc.nat(), { maxLength: 4 }), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(plans, (plan) => {
      let graph = begin() as unknown as Workflow;
      for (const [i, picks] of plan.entries()) {
        const after = picks.map((pick) => (pick % (i + 1) === 0 ? 'request' : `s${(pick % (i + 1)) - 1}`));
        const options: StageOptions<string> = after.length === 0 ? { handler } : { handler, after };
        graph = graph.stage(`s${i}`, options);
      }
      const order = ['request', ...graph.stages.map(({ name }) => name)];
      for (const stage of graph.stages) {
        if (new Set(stage.after).size !== stage.after.length) throw new Error('named twice');
        for (const name of stage.after) {
          if (order.indexOf(name) >= order.indexOf(stage.name)) throw new Error('not forward');
          if (!graph.followers(name).includes(stage)) throw new Error('not followed');
        }
      }
      if (graph.sinks.length === 0) throw new Error('no end');
    }),
    { seed: 11, numRuns: 200 },
  );
  t.pass('200 graphs');
});

void t.test('sizes can be changed by name, and nothing else changes', async (t) => {
  const graph = begin()
    .stage('constructor', { handler })
    .stage('b', { handler, after: ['constructor'], instances: 3 });
  const other = graph.withSizes({ request: 10, stages: { b: 20 } });
  t.same(other.sizes, { request: 10, stages: { constructor: 4 * 2 ** 20, b: 20 } });
  t.same(graph.sizes, { request: 4 * 2 ** 20, stages: { constructor: 4 * 2 ** 20, b: 4 * 2 ** 20 } });
  t.same(graph.withSizes(other.sizes).sizes, other.sizes);
  t.match(other.get('b'), { instances: 3, after: ['constructor'] });
  t.throws(() => graph.withSizes({ stages: { c: 1 } }), INVALID);
  t.throws(() => graph.withSizes({ stages: { b: 0 } }), INVALID);
  t.throws(() => graph.withSizes({ request: -1 }), INVALID);
  t.throws(() => graph.get('c'), INVALID);
});

void t.test('tickets spread requests over instances in turn, or over all', async (t) => {
  const graph = begin()
    .stage('turns', { handler, instances: 3 })
    .stage('shards', { handler, instances: 3, spread: 'shard' });
  t.same(
    [0, 1, 2, 3, 2 ** 53 - 1].map((ticket) => instancesFor(graph.get('turns'), ticket)),
    [[0], [1], [2], [0], [(2 ** 53 - 1) % 3]],
  );
  t.same(instancesFor(graph.get('shards'), 7), [0, 1, 2]);
});

const hop = (n: number): HopTrace => {
  return { from: 'a', fromInstance: n, to: 'b', toInstance: n, bytes: 1, us: 0.123456789, device: 'soft0' };
};

void t.test('traces come together without doubles, and keep their newest when they are too long', async (t) => {
  const task = (stage: string) => ({ stage, instance: 0, queueUs: 1, computeUs: 2 });
  const left: Trace = { tasks: [task('a'), task('b')], hops: [hop(0)] };
  const right: Trace = { tasks: [task('a'), task('c')], hops: [hop(0), hop(1)] };
  t.same(mergeTraces([left, right]), { tasks: [task('a'), task('b'), task('c')], hops: [hop(0), hop(1)] });
  t.same(mergeTraces([]), { tasks: [], hops: [] });
  t.equal(boundTrace(right), right);
  const long: Trace = { tasks: [task('a')], hops: Array.from({ length: 5000 }, (_, n) => hop(n)) };
  const bound = boundTrace(long);
  t.ok(JSON.stringify(bound).length <= MAX_TRACE_BYTES, `${JSON.stringify(bound).length} bytes`);
  t.ok(bound.hops.length > 400);
  t.same([bound.tasks.length, bound.hops.at(-1)], [1, hop(4999)]);
});

void t.test('an envelope has exactly its form, or the field that is wrong is named', async (t) => {
  const good = envelope({
    meta: { a: [1, { b: null }], constructor: 1 },
    error: { stage: 'a', code: 'X', message: '' },
  });
  t.same(parseEnvelope(JSON.parse(JSON.stringify(good))), good);
  const wrong: [string, unknown][] = [
    ['workflow', 5],
    ['request', ''],
    ['request', 'x'.repeat(129)],
    ['ticket', -1],
    ['ticket', '1'],
    ['finishedBelow', 0.5],
    ['from', 'x'.repeat(129)],
    ['fromInstance', null],
    ['sentAtUs', null],
    ['deadlineAt', -5],
    ['trace', {}],
    ['trace', { tasks: [{}], hops: [] }],
    ['trace', { tasks: [], hops: [{ ...hop(1), more: 1 }] }],
    ['meta', null],
    ['meta', []],
    ['meta', 'x'],
    ['error', {}],
    ['error', 'x'],
    ['unknown', 1],
  ];
  for (const [field, value] of wrong) {
    t.throws(() => parseEnvelope({ ...good, [field]: value }), { code: 'RDMA_ERR_PROTOCOL' }, field);
  }
  for (const head of [undefined, null, 5, 'x', [], {}])
    t.throws(() => parseEnvelope(head), { code: 'RDMA_ERR_PROTOCOL' });
  const { ticket: _, ...lacking } = good;
  t.throws(() => parseEnvelope(lacking), { message: /ticket/ });
});

void t.test('metadata that would be refused is refused where it is made', async (t) => {
  class Point {
    x = 1;
  }
  for (const meta of [{}, { a: 1 }, Object.create(null), new Point(), { toJSON: () => ({}) }]) {
    t.equal(checkMeta(meta), meta);
  }
  for (const meta of [null, 5, 'x', [], new Date(), new String('x'), new Number(1), { toJSON: () => 1 }, () => ({})]) {
    t.throws(() => checkMeta(meta), INVALID);
  }
});
