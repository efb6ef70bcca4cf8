// Proves that a stage which streams another one begins with its first piece, reads every piece in order and ends with
// the last; that a stage which does not gets all of them at once; and what is refused in words.
import t from 'tap';
import { type StageTask, tensor, workflow } from '../../src/ts/pipeline/index.js';
import { bytes, failureOf, gate, Harness, until, within } from './support.js';

const here = { module: __filename };

/** Publishes so many pieces, each its number. */
async function count(task: StageTask, pieces: number): Promise<void> {
  const stream = task.stream();
  for (let i = 0; i < pieces; i++) await stream.write({ n: bytes(i) }, { i });
}

async function numbers(task: StageTask, stage: string): Promise<string> {
  const seen: string[] = [];
  for await (const { instance, number, meta, parts } of task.pieces(stage)) {
    if (meta.i !== number || parts.n!.data[0] !== number) throw new Error('a piece has another number');
    seen.push(`${instance}:${number}`);
  }
  return seen.join(' ');
}

void t.test('a task begins with the first piece, and the producer goes on when it was read', async (t) => {
  const read = gate();
  const graph = workflow('overlap', here)
    .stage('make', {
      maxPieces: 4,
      handler: async (task) => {
        await task.stream().write({ n: bytes(0) }, { i: 0 });
        await read.opened;
        await task.stream().write({ n: bytes(1) }, { i: 1 });
        t.equal(task.stream().pieces, 2);
        return { meta: { made: task.stream().pieces } };
      },
    })
    .stage('take', {
      after: ['make'],
      streams: ['make'],
      handler: async (task) => {
        t.throws(() => task.input('make'), { code: 'RDMA_ERR_BUSY', message: /has not closed its stream/ });
        const pieces = task.pieces('make');
        t.equal((await pieces.next()).value?.number, 0);
        read.open();
        t.equal((await pieces.next()).value?.number, 1);
        t.same(await pieces.next(), { done: true, value: undefined });
        t.same(await pieces.next(), { done: true, value: undefined });
        // Again, from the first.
        t.equal(await numbers(task as StageTask, 'make'), '0:0 0:1');
        return { meta: { ...task.input('make').meta, gathered: task.input('make').pieces.length } };
      },
    });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const { outputs } = await within('a result', pipeline.gateway.run({}));
  t.same(outputs[0]?.meta, { made: 2, gathered: 2 });
  await pipeline.idle();
});

void t.test('shards, fan-out and fan-in: every receiver gets every piece of every instance', async (t) => {
  const graph = workflow('shapes', here)
    .stage('make', {
      instances: 2,
      spread: 'shard',
      maxPieces: 5,
      handler: async (task) => {
        await count(task as StageTask, 2 + task.instance);
        return {};
      },
    })
    .stage('take', {
      after: ['make'],
      streams: ['make'],
      handler: async (task) => ({ meta: { seen: await numbers(task as StageTask, 'make') } }),
    })
    .stage('gather', {
      after: ['make'],
      handler: (task) => ({
        meta: {
          seen: task
            .inputs('make')
            .flatMap(({ pieces }) => pieces.map(({ instance, number }) => `${instance}:${number}`))
            .join(' '),
        },
      }),
    })
    .stage('both', {
      after: ['make', 'take', 'gather'],
      streams: ['make'],
      handler: async (task) => ({
        meta: {
          seen: await numbers(task as StageTask, 'make'),
          take: task.input('take').meta.seen,
          gather: task.input('gather').meta.seen,
        },
      }),
    });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  for (let i = 0; i < 5; i++) {
    const { outputs } = await within('a result', pipeline.gateway.run({}));
    const { seen, take, gather } = outputs[0]!.meta as Record<string, string>;
    const inOrder = (text: string) => text.split(' ').sort().join(' ');
    t.equal(inOrder(seen!), '0:0 0:1 1:0 1:1 1:2');
    t.equal(inOrder(take!), '0:0 0:1 1:0 1:1 1:2');
    t.equal(gather, '0:0 0:1 1:0 1:1 1:2');
    for (const text of [seen!, take!]) {
      for (const instance of ['0', '1']) {
        const own = text.split(' ').filter((each) => each.startsWith(instance));
        t.same(own, [...own].sort(), 'pieces of one instance are in order');
      }
    }
  }
  await pipeline.idle();
});

void t.test('streams of no piece, and handlers that read none, or not all', async (t) => {
  const graph = workflow('little', here)
    .stage('make', {
      maxPieces: 8,
      handler: async (task) => {
        await count(task as StageTask, Number(task.input('request').meta.pieces));
        return { meta: { made: true } };
      },
    })
    .stage('ignore', { after: ['make'], streams: ['make'], handler: () => ({ meta: { by: 'ignore' } }) })
    .stage('peek', {
      after: ['make'],
      streams: ['make'],
      handler: async (task) => {
        let peeked = -1;
        for await (const { number } of task.pieces('make')) {
          peeked = number;
          break;
        }
        return { meta: { peeked } };
      },
    });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  for (const pieces of [0, 1, 8]) {
    const { outputs } = await within('a result', pipeline.gateway.run({ meta: { pieces } }));
    t.same(
      outputs.map(({ meta }) => meta),
      [{ by: 'ignore' }, { peeked: pieces === 0 ? -1 : 0 }],
    );
  }
  await pipeline.idle();
});

void t.test('what goes out waits for the streams it was made of, and the slot of its task with it', async (t) => {
  const go = gate();
  const began: string[] = [];
  const graph = workflow('early', here)
    .stage('make', {
      maxPieces: 8,
      concurrency: 2,
      handler: async (task) => {
        await count(task as StageTask, 1);
        await go.opened;
        return {};
      },
    })
    .stage('early', {
      after: ['make'],
      streams: ['make'],
      handler: (task) => {
        began.push(task.request);
        return { meta: { early: true } };
      },
    });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const results = Promise.all([pipeline.gateway.run({}), pipeline.gateway.run({})]);
  await until('the first task', () => began.length > 0);
  await pipeline.still();
  t.equal(began.length, 1);
  t.equal(pipeline.count('early/0', 'done'), 0);
  go.open();
  t.equal((await within('results', results)).length, 2);
  await pipeline.idle();
});

void t.test('a producer that fails ends its reader with the request', async (t) => {
  const graph = workflow('failing', here)
    .stage('make', {
      maxPieces: 8,
      handler: async (task) => {
        await count(task as StageTask, 2);
        throw new Error('no third piece');
      },
    })
    .stage('take', {
      after: ['make'],
      streams: ['make'],
      handler: async (task) => ({ meta: { seen: await numbers(task as StageTask, 'make') } }),
    });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  for (let i = 0; i < 3; i++) {
    const failure = await failureOf(pipeline.gateway.run({}));
    t.equal(failure.code, 'RDMA_ERR_STAGE_FAILED');
    t.match(failure.message, /stage make failed: no third piece/);
  }
  await pipeline.idle();
});

void t.test('a deadline and an abort reach a handler that waits for a piece', async (t) => {
  const reasons: string[] = [];
  const graph = workflow('waiting', here)
    .stage('make', {
      maxPieces: 8,
      handler: async (task) => {
        await count(task as StageTask, 1);
        await new Promise((resolve) => task.signal.addEventListener('abort', resolve));
        throw task.signal.reason;
      },
    })
    .stage('take', {
      after: ['make'],
      streams: ['make'],
      handler: async (task) => {
        try {
          return { meta: { seen: await numbers(task as StageTask, 'make') } };
        } catch (error) {
          reasons.push((error as { code: string }).code);
          throw error;
        }
      },
    });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  t.equal((await failureOf(pipeline.gateway.run({}, { timeoutMs: 300 }))).code, 'RDMA_ERR_DEADLINE');
  const control = new AbortController();
  const aborted = failureOf(pipeline.gateway.run({}, { signal: control.signal }));
  await until('the reader to wait', () => pipeline.count('take/0', 'task') === 2);
  control.abort();
  t.equal((await aborted).code, 'RDMA_ERR_ABORTED');
  await until('both to have heard', () => reasons.length === 2);
  t.match(reasons[0], /DEADLINE|ABORTED/);
  await pipeline.idle();
});

void t.test('pieces are views of received memory, which go on by reference', async (t) => {
  const large = 100_000;
  const graph = workflow('views', here)
    .stage('make', {
      maxPieces: 4,
      handler: async (task) => {
        for (let i = 0; i < 4; i++) {
          const { n } = task.output({ n: { dtype: 'u8', shape: [large] } });
          (n.data as Uint8Array).fill(i + 1);
          await task.stream().write({ n });
        }
        return {};
      },
    })
    .stage('pass', {
      after: ['make'],
      streams: ['make'],
      maxPieces: 4,
      handler: async (task) => {
        for await (const { parts } of task.pieces('make')) await task.stream().write({ n: parts.n! });
        return {};
      },
    });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const before = pipeline.stages.get('pass/0')!.status().pool.registeredBytes;
  const result = await within('a result', pipeline.gateway.run({}, { views: true }));
  t.same(
    result.outputs[0]!.pieces!.map(({ number, parts }) => [number, parts.n!.data.length, parts.n!.data[large - 1]]),
    [0, 1, 2, 3].map((i) => [i, large, i + 1]),
  );
  const { registeredBytes } = pipeline.stages.get('pass/0')!.status().pool;
  if (process.env.ONEPIECE_DEVICE === undefined) t.equal(registeredBytes, before, 'nothing was copied');
  result.release();
  await pipeline.idle();
});

void t.test('what is no stream is refused in words', async (t) => {
  const said: { code: string; message: string }[] = [];
  const say = (call: () => unknown) => {
    try {
      call();
    } catch (error) {
      said.push(error as { code: string; message: string });
    }
  };
  const graph = workflow('refused', here)
    .stage('whole', {
      handler: (task) => {
        say(() => task.stream());
        return { parts: { x: tensor('u8', [1], Uint8Array.of(1)) } };
      },
    })
    .stage('end', {
      after: ['whole'],
      handler: (task) => {
        say(() => task.pieces('whole'));
        say(() => task.pieces('other' as 'whole'));
        return { meta: { none: task.input('whole').pieces.length } };
      },
    });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const { outputs } = await within('a result', pipeline.gateway.run({}));
  t.same(outputs[0]!.meta, { none: 0 });
  t.equal(outputs[0]!.pieces, undefined);
  t.same(
    said.map(({ code }) => code),
    ['RDMA_ERR_INVALID_ARGUMENT', 'RDMA_ERR_INVALID_ARGUMENT', 'RDMA_ERR_INVALID_ARGUMENT'],
  );
  t.match(said.map(({ message }) => message).join(), /whole publishes no pieces.*has no input from other/);
});
