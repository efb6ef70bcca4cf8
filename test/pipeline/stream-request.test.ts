// Proves how a request is read piece by piece: to its end, with its error, left early, aborted from outside.
import t from 'tap';
import { workflow } from '../../src/ts/pipeline/index.js';
import { codeOf, Harness, within } from './support.js';

const graph = workflow('read', { module: __filename }).stage('make', {
  maxPieces: 5,
  handler: async (task) => {
    const { meta } = task.input('request');
    for (let i = 0; i < 5; i++) await task.stream().write({}, { i });
    if (meta.fails === true) throw new Error('it was asked to fail');
    if (meta.waits === true) await new Promise((resolve) => task.signal.addEventListener('abort', resolve));
    return { meta: { done: true } };
  },
});

async function harness(t: { teardown: (work: () => Promise<void>) => void }): Promise<Harness> {
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  return pipeline;
}

void t.test('the loop ends with the request, and its result is there', async (t) => {
  const pipeline = await harness(t);
  const stream = pipeline.gateway.stream({});
  const seen: unknown[] = [];
  for await (const event of stream) if (event.type === 'piece') seen.push(event.meta.i);
  t.same(seen, [0, 1, 2, 3, 4]);
  t.same(await stream.next(), { done: true, value: undefined });
  t.same((await stream.result).outputs[0]!.meta, { done: true });
  await pipeline.idle();
});

void t.test('pieces that nobody has read yet are there when the request has ended', async (t) => {
  const pipeline = await harness(t);
  const stream = pipeline.gateway.stream({});
  await within('the result', stream.result);
  let count = 0;
  for await (const _ of stream) count++;
  t.equal(count, 5);
});

void t.test('a failure ends the loop, once', async (t) => {
  const pipeline = await harness(t);
  const stream = pipeline.gateway.stream({ meta: { fails: true } });
  const loop = async () => {
    for await (const _ of stream);
  };
  t.equal(await codeOf(loop()), 'RDMA_ERR_STAGE_FAILED');
  t.equal(await codeOf(stream.result), 'RDMA_ERR_STAGE_FAILED');
  t.same(await stream.next(), { done: true, value: undefined });
  await pipeline.idle();
});

void t.test('who leaves the loop gives the request up', async (t) => {
  const pipeline = await harness(t);
  const stream = pipeline.gateway.stream({ meta: { waits: true } });
  for await (const _ of stream) break;
  t.equal(await codeOf(stream.result), 'RDMA_ERR_ABORTED');
  await pipeline.idle();
});

void t.test('a signal, a deadline and bad arguments end it as they end run()', async (t) => {
  const pipeline = await harness(t);
  const control = new AbortController();
  const stream = pipeline.gateway.stream({ meta: { waits: true } }, { signal: control.signal });
  const loop = async () => {
    for await (const event of stream) if (event.type === 'piece' && event.number === 4) control.abort();
  };
  t.equal(await codeOf(loop()), 'RDMA_ERR_ABORTED');
  t.equal(await codeOf(pipeline.gateway.stream({}, { signal: AbortSignal.abort() }).result), 'RDMA_ERR_ABORTED');
  t.equal(await codeOf(pipeline.gateway.stream({}, { timeoutMs: 0 }).result), 'RDMA_ERR_INVALID_ARGUMENT');
  t.throws(() => pipeline.gateway.stream({}, 5 as never), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  const late = pipeline.gateway.stream({ meta: { waits: true } }, { timeoutMs: 100 });
  t.equal(await codeOf(late.next().then(() => late.result)), 'RDMA_ERR_DEADLINE');
  await pipeline.idle();
});
