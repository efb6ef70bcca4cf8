// Proves that an output which cannot be sent leaves nothing behind: its blocks are given back, its request fails with
// the reason, whoever has got it already keeps it, and outputs that wait for memory get what failed tasks had.
import t from 'tap';
import { RdmaError, type StageHandler, tensor, workflow } from '../../src/ts/pipeline/index.js';
import { Links } from '../../src/ts/pipeline/links.js';
import { type MemoryPool, Outbox } from '../../src/ts/ring/index.js';
import { codeOf, failureOf, gate, Harness, until, within } from './support.js';

const here = { module: __filename };
const BYTES = 200_000;
const OWN = { x: { dtype: 'u8', shape: [BYTES] } } as const;
const other = () => tensor('u8', [BYTES], new Uint8Array(BYTES));
/** One part lies in a block, the other one is copied into one. */
const both: StageHandler = (task) => ({ parts: { ...task.output(OWN), y: other() } });
const LACKING = { code: 'RDMA_ERR_STAGE_FAILED', message: /cannot be registered/ };
const noMemory = () => {
  throw new RdmaError('ENOMEM', 'the memory cannot be registered');
};

/** The pool of a place says this in place of its own answer, from `after` allocations on, `times` times. */
function disturb(pool: MemoryPool, answer: () => undefined, after = 0, times = 1): void {
  const { allocate } = pool;
  let count = 0;
  pool.allocate = (bytes) => {
    const isDisturbed = count >= after && count < after + times;
    count++;
    return isDisturbed ? answer() : allocate.call(pool, bytes);
  };
}

/** The next message to a target fails in its outbox. */
function breakOnce(target: string): void {
  const { send } = Links.prototype;
  const { trySend } = Outbox.prototype;
  Links.prototype.send = function (to, ...message) {
    if (to === target && message[1] !== undefined) {
      Links.prototype.send = send;
      Outbox.prototype.trySend = () => {
        Outbox.prototype.trySend = trySend;
        throw new RdmaError('RDMA_ERR_PEER_GONE', `the way to ${target} is gone`);
      };
    }
    send.call(this, to, ...message);
  };
}

void t.test('without memory for the body the request fails, and its blocks are given back', async (t) => {
  const pipeline = await Harness.open(workflow('no-memory', here).stage('a', { handler: both }));
  t.teardown(() => pipeline.close());
  disturb(pipeline.stages.get('a/0')!.pool, noMemory, 1);
  t.match(await failureOf(pipeline.gateway.run({})), LACKING);
  await pipeline.idle(2000);
  t.equal(await codeOf(pipeline.gateway.run({})), 'ok');
  await pipeline.idle(2000);
});

void t.test('a tensor that is taken away while its output waits for memory fails its request alone', async (t) => {
  const mine = other();
  const graph = workflow('taken-away', here).stage('a', {
    handler: (task) => ({ parts: { ...task.output(OWN), y: task.input('request').meta.n === 0 ? mine : other() } }),
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const held = await within('views', pipeline.gateway.run({ meta: { n: 2 } }, { views: true }));
  disturb(pipeline.stages.get('a/0')!.pool, () => undefined, 1);
  const first = failureOf(pipeline.gateway.run({ meta: { n: 0 } }));
  await until('an output that waits', () => pipeline.stages.get('a/0')!.status().unsent === 1);
  structuredClone(mine.data.buffer, { transfer: [mine.data.buffer as ArrayBuffer] });
  // Behind the output of the next task, which waits behind the first.
  const second = codeOf(pipeline.gateway.run({ meta: { n: 1 } }));
  await until('two', () => pipeline.stages.get('a/0')!.status().unsent === 2);
  held.release();
  t.match(await first, { code: 'RDMA_ERR_STAGE_FAILED', message: /detached/ });
  t.equal(await second, 'ok');
  await pipeline.idle(2000);
});

void t.test('a piece that cannot be sent gives its blocks back', async (t) => {
  const graph = workflow('pieces', here).stage('a', {
    maxPieces: 4,
    handler: async (task) => {
      await task.stream().write({ x: task.output(OWN).x, y: other() });
      return {};
    },
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  disturb(pipeline.stages.get('a/0')!.pool, noMemory, 1);
  t.match(await failureOf(pipeline.gateway.run({})), LACKING);
  await pipeline.idle(2000);
});

void t.test(
  'a link that fails behind others keeps the memory for those that got the output, and no longer',
  async (t) => {
    const graph = workflow('half', here)
      .stage('a', { handler: both })
      .stage('b', { after: ['a'], handler: () => ({}) })
      .stage('c', { after: ['a'], handler: () => ({}) });
    const pipeline = await Harness.open(graph);
    t.teardown(() => pipeline.close());
    breakOnce('c/0');
    t.match(await failureOf(pipeline.gateway.run({})), {
      code: 'RDMA_ERR_STAGE_FAILED',
      message: /the way to c\/0 is gone/,
    });
    await pipeline.idle(2000);
    t.equal(await codeOf(pipeline.gateway.run({})), 'ok');
    await pipeline.idle(2000);
  },
);

void t.test('what a failed task had goes to an output that waits for memory', async (t) => {
  const opened = gate();
  const graph = workflow('waiting', here).stage('a', {
    concurrency: 2,
    handler: async (task) => {
      if (task.input('request').meta.n === 1) return { parts: { y: other() } };
      task.output(OWN);
      await opened.opened;
      throw new Error('no picture');
    },
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  disturb(pipeline.stages.get('a/0')!.pool, () => undefined, 1);
  const fails = codeOf(pipeline.gateway.run({ meta: { n: 0 } }));
  await until('the first', () => pipeline.stages.get('a/0')!.status().pool.blocks === 1);
  const waits = pipeline.gateway.run({ meta: { n: 1 } });
  await until('an output that waits', () => pipeline.stages.get('a/0')!.status().unsent === 1);
  opened.open();
  t.equal(await fails, 'RDMA_ERR_STAGE_FAILED');
  t.equal((await within('the other', waits, 2000)).outputs.length, 1);
  await pipeline.idle(2000);
});
