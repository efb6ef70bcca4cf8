// Proves that a workflow is a checked spec with the code of each stage, that its graph needs no code, and that a copy
// with other sizes differs in nothing else.
import t from 'tap';
import { checkSpec, isWorkflow, type Workflow, workflow } from '../../src/ts/pipeline/index.js';

const INVALID = { code: 'RDMA_ERR_INVALID_ARGUMENT' };
const handler = () => ({});
const begin = (name = 'flow') => workflow(name, { module: __filename });
const loose = (graph: unknown) => graph as { stage(name: unknown, options: unknown): Workflow };

void t.test('its spec is the graph as data, which is the same after JSON', async (t) => {
  const graph = begin()
    .stage('a', { handler, instances: 2 })
    .stage('b', { handler, after: ['a', 'request'], spread: 'shard', concurrency: 3, maxOutputBytes: 10 });
  const { spec } = graph;
  t.same(checkSpec(JSON.parse(JSON.stringify(spec))), spec);
  t.match(spec.stages, [
    { name: 'a', after: ['request'], instances: 2, spread: 'route' },
    { name: 'b', after: ['a', 'request'], spread: 'shard', concurrency: 3, maxOutputBytes: 10 },
  ]);
  t.notOk(JSON.stringify(spec).includes('handler'));
  t.ok(Object.isFrozen(spec));
  t.throws(() => begin().spec, { ...INVALID, message: /no stages/ });
});

void t.test('every stage has its code', async (t) => {
  const other = async () => ({});
  const graph = begin().stage('a', { handler }).stage('b', { handler: other });
  t.equal(graph.handler('a'), handler);
  t.equal(graph.get('b').handler, other);
  t.throws(() => graph.handler('c'), INVALID);
  t.throws(() => graph.get('toString'), INVALID);
});

void t.test('options that are wrong are refused', async (t) => {
  for (const options of [undefined, {}, { handler: 5 }, { handler, after: ['later'] }, { handler, instances: 0 }]) {
    t.throws(() => loose(begin()).stage('b', options), INVALID);
  }
  t.throws(() => workflow('a', undefined as never), INVALID);
  t.throws(() => workflow('a', { module: '' }), INVALID);
  t.throws(() => workflow('A', { module: __filename }), INVALID);
  t.throws(() => workflow('a', { module: __filename, maxRequestBytes: 0 }), INVALID);
});

void t.test('a stage has a handler of tasks, or one of batches with their key', async (t) => {
  const batchHandler = () => [];
  const key = () => 'a';
  const graph = begin()
    .stage('a', { batch: { size: 2, waitMs: 1, key }, batchHandler })
    .stage('b', { batch: { size: 2 }, batchHandler });
  t.same(graph.code('a'), { batchHandler, batchKey: key });
  t.same(graph.code('b'), { batchHandler });
  t.same(graph.spec.stages[0]!.batch, { size: 2, waitMs: 1 });
  t.equal(graph.withSizes({ request: 10 }).code('a').batchKey, key);
  t.throws(() => graph.handler('a'), { ...INVALID, message: /stage a takes batches/ });
  t.throws(() => graph.code('c'), INVALID);
  for (const options of [
    { batchHandler },
    { batch: { size: 2 } },
    { batch: { size: 2 }, handler },
    { batch: { size: 2 }, batchHandler, handler },
    { batch: 2, batchHandler },
    { batch: {}, batchHandler },
    { batch: { size: 2, key: 'a' }, batchHandler },
  ]) {
    t.throws(() => loose(begin()).stage('c', options), INVALID);
  }
});

void t.test('a stage that is refused leaves the workflow as it was', async (t) => {
  const graph = begin().stage('a', { handler });
  t.throws(() => loose(graph).stage('b', { handler, after: ['c'] }), INVALID);
  t.same(
    graph.stages.map(({ name }) => name),
    ['a'],
  );
  t.throws(() => graph.get('b'), INVALID);
});

void t.test('it knows who comes after whom', async (t) => {
  const graph = begin()
    .stage('a', { handler })
    .stage('b', { handler, after: ['a', 'request'] })
    .stage('c', { handler, after: ['a'] });
  const names = (list: readonly { name: string }[]) => list.map(({ name }) => name);
  t.same(names(graph.followers('request')), ['a', 'b']);
  t.same(names(graph.followers('a')), ['b', 'c']);
  t.same(names(graph.sinks), ['b', 'c']);
});

void t.test('sizes can be changed by name, and nothing else changes', async (t) => {
  const graph = begin()
    .stage('constructor', { handler })
    .stage('b', { handler, after: ['constructor'], instances: 3 });
  const other = graph.withSizes({ request: 10, stages: { b: 20 } });
  t.same(other.sizes, { request: 10, stages: { constructor: 4 * 2 ** 20, b: 20 } });
  t.same(graph.sizes, { request: 4 * 2 ** 20, stages: { constructor: 4 * 2 ** 20, b: 4 * 2 ** 20 } });
  t.same(graph.withSizes(other.sizes).sizes, other.sizes);
  t.match(other.get('b'), { instances: 3, after: ['constructor'], handler });
  t.equal(other.spec.maxRequestBytes, 10);
  t.throws(() => graph.withSizes({ stages: { c: 1 } }), INVALID);
  t.throws(() => graph.withSizes({ stages: { b: 0 } }), INVALID);
  t.throws(() => graph.withSizes({ request: -1 }), INVALID);
});

void t.test('the module is a path, or the URL of a file, of any realm', async (t) => {
  const moduleOf = (module: unknown) => workflow('w', { module: module as string }).module;
  t.equal(moduleOf('/a/b.mjs'), '/a/b.mjs');
  t.equal(moduleOf('./b.mjs'), './b.mjs');
  t.equal(moduleOf('file:///a/b%20c.mjs'), '/a/b c.mjs');
  t.equal(moduleOf('file:///a/b.mjs?t=1#x'), '/a/b.mjs', 'without what a loader adds');
  t.equal(moduleOf(new URL('file:///a/b.mjs')), '/a/b.mjs');
  t.equal(moduleOf({ href: 'file:///a/b.mjs' }), '/a/b.mjs');
  for (const other of ['data:text/javascript,1', 'https://example.org/a.mjs', 'node:fs', 'file://host/a.mjs']) {
    t.throws(() => moduleOf(other), { ...INVALID, remedy: /import\.meta\.url/ }, other);
  }
  for (const other of ['', 5, undefined, {}, { href: 5 }]) t.throws(() => moduleOf(other), INVALID, String(other));
});

void t.test('a workflow of another copy of this package is known as one', async (t) => {
  t.ok(isWorkflow(begin()));
  t.ok(isWorkflow(Object.defineProperty({}, Symbol.for('onepiece-rdma.Workflow'), { value: true })));
  for (const value of [undefined, null, 5, {}, () => {}, checkSpec({ name: 'a', stages: [{ name: 'b' }] })]) {
    t.notOk(isWorkflow(value));
  }
});
