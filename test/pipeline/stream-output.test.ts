// Proves what a handler may publish: pieces of its limits, in order, also when they wait for memory; what is refused,
// and what becomes of a stream whose handler has ended, failed, or is not wanted.
import t from 'tap';
import { type StageStream, type StageTask, tensor, workflow } from '../../src/ts/pipeline/index.js';
import { bytes, codeOf, failureOf, gate, Harness, until, within } from './support.js';

const here = { module: __filename };

void t.test('more pieces, more bytes and what is no piece are refused, and the stream goes on', async (t) => {
  const codes: string[] = [];
  const graph = workflow('limits', here).stage('make', {
    maxPieces: 3,
    maxOutputBytes: 100,
    handler: async (task) => {
      const stream = task.stream();
      t.equal(task.stream(), stream);
      const { write } = stream;
      codes.push(await codeOf(write({ n: bytes(1) }, { i: 0 })));
      codes.push(await codeOf(write({ n: 5 as never })));
      codes.push(await codeOf(write(5 as never)));
      codes.push(await codeOf(write({}, { i: Number.NaN })));
      codes.push(await codeOf(write({ n: tensor('u8', [100], new Uint8Array(100)) })));
      codes.push(await codeOf(write({ n: tensor('u8', [50], new Uint8Array(50)) }, { i: 1 })));
      codes.push(await codeOf(write(undefined as never, { i: 2 })));
      codes.push(await codeOf(write({}, { i: 3 })));
      return { parts: { rest: tensor('u8', [49], new Uint8Array(49)) } };
    },
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const { outputs } = await within('a result', pipeline.gateway.run({}));
  const [invalid, large] = ['RDMA_ERR_INVALID_ARGUMENT', 'RDMA_ERR_MESSAGE_TOO_LARGE'];
  t.same(codes, ['ok', invalid, invalid, invalid, large, 'ok', 'ok', large]);
  t.same(
    outputs[0]!.pieces!.map(({ number, meta }) => [number, meta.i]),
    [
      [0, 0],
      [1, 1],
      [2, 2],
    ],
  );
  await pipeline.idle();
});

void t.test('the output counts with its pieces', async (t) => {
  const graph = workflow('sum', here).stage('make', {
    maxPieces: 3,
    maxOutputBytes: 100,
    handler: async (task) => {
      await task.stream().write({ n: tensor('u8', [60], new Uint8Array(60)) });
      return { parts: { n: tensor('u8', [41], new Uint8Array(41)) } };
    },
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const { code, message } = await failureOf(pipeline.gateway.run({}));
  t.equal(code, 'RDMA_ERR_STAGE_FAILED');
  t.match(message, /tensors of 41 bytes; at most 40/);
  await pipeline.idle();
});

void t.test('pieces wait for memory, and still come in order', async (t) => {
  const PIECE = 40_000;
  const graph = workflow('memory', here)
    .stage('make', {
      maxPieces: 6,
      concurrency: 4,
      maxOutputBytes: 8 * PIECE,
      handler: async (task) => {
        const writes: Promise<void>[] = [];
        const made = Array.from({ length: 6 }, (_, i) => tensor('u8', [PIECE], new Uint8Array(PIECE).fill(i + 1)));
        // Without waiting for any of them.
        for (const [i, n] of made.entries()) writes.push(task.stream().write({ n }, { i }));
        await Promise.all(writes);
        for (const { data } of made) (data as Uint8Array).fill(99);
        return {};
      },
    })
    .stage('take', {
      after: ['make'],
      streams: ['make'],
      handler: async (task) => {
        const seen: number[] = [];
        for await (const { parts, meta } of task.pieces('make')) {
          const { data } = parts.n!;
          if (data[0] !== Number(meta.i) + 1 || data[PIECE - 1] !== data[0]) throw new Error('other bytes');
          seen.push(Number(meta.i));
        }
        return { meta: { seen } };
      },
    });
  // Room for one stream and a little more: of several requests together some have to wait.
  const pipeline = await Harness.open(graph, { sizes: { poolBytes: 16 * PIECE } });
  t.teardown(() => pipeline.close());
  const results = await within('results', Promise.all(Array.from({ length: 20 }, () => pipeline.gateway.run({}))));
  for (const { outputs } of results) t.same(outputs[0]!.meta.seen, [0, 1, 2, 3, 4, 5]);
  await pipeline.idle();
});

void t.test('memory of task.output() that is in a piece may be in the output too', async (t) => {
  const graph = workflow('twice', here).stage('make', {
    maxPieces: 2,
    handler: async (task) => {
      const { n } = task.output({ n: { dtype: 'u8', shape: [50_000] } });
      (n.data as Uint8Array).fill(7);
      await task.stream().write({ n });
      await task.stream().write({ n });
      return { parts: { n } };
    },
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  for (let i = 0; i < 3; i++) {
    const { outputs } = await within('a result', pipeline.gateway.run({}));
    const all = [outputs[0]!.parts.n!, ...outputs[0]!.pieces!.map(({ parts }) => parts.n!)];
    t.ok(all.every(({ data }) => data.length === 50_000 && data[0] === 7 && data[49_999] === 7));
  }
  await pipeline.idle();
});

void t.test('after the handler has ended, or when nobody wants it, nothing is written', async (t) => {
  let kept: StageStream | undefined;
  const codes: string[] = [];
  const started = gate();
  const graph = workflow('late', here).stage('make', {
    maxPieces: 9,
    handler: async (task: StageTask) => {
      kept = task.stream();
      await kept.write({});
      if (task.input('request').meta.waits !== true) return {};
      started.open();
      await new Promise((resolve) => task.signal.addEventListener('abort', resolve));
      codes.push(await codeOf(task.stream().write({})));
      throw task.signal.reason;
    },
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  await within('a result', pipeline.gateway.run({}));
  t.equal(await codeOf(kept!.write({})), 'RDMA_ERR_CLOSED');
  const control = new AbortController();
  const result = codeOf(pipeline.gateway.run({ meta: { waits: true } }, { signal: control.signal }));
  await started.opened;
  control.abort();
  t.equal(await result, 'RDMA_ERR_ABORTED');
  await until('the handler to end', () => codes.length === 1);
  t.same(codes, ['RDMA_ERR_ABORTED']);
  await pipeline.idle();
});
