// Proves what a caller hears of a result that comes in pieces: each piece in order as it comes, a restart before the
// pieces of the next run, nothing after its request has ended; and the same pieces in the result.
import t from 'tap';
import { type PieceEvent, type StageTask, workflow } from '../../src/ts/pipeline/index.js';
import { bytes, codeOf, failureOf, gate, Harness, until, within } from './support.js';

const here = { module: __filename };
const words = (event: PieceEvent) =>
  event.type === 'piece' ? `${event.stage}/${event.instance}:${event.number}` : `${event.stage} again`;

void t.test('pieces are heard before the result is there, and are in it', async (t) => {
  const heard = gate();
  const graph = workflow('heard', here).stage('make', {
    maxPieces: 3,
    handler: async (task) => {
      await task.stream().write({ n: bytes(5) }, { i: 0 });
      await heard.opened;
      await task.stream().write({ n: bytes(6) }, { i: 1 });
      return { meta: { done: true } };
    },
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  for (const views of [false, true]) {
    const events: PieceEvent[] = [];
    const onPiece = (event: PieceEvent) => {
      events.push(event);
      heard.open();
    };
    const result = await within('a result', pipeline.gateway.run({}, { views, onPiece }));
    t.same(events.map(words), ['make/0:0', 'make/0:1']);
    const pieces = result.outputs[0]!.pieces!;
    t.same(
      pieces.map(({ parts, meta }) => [meta.i, parts.n!.data[0]]),
      [
        [0, 5],
        [1, 6],
      ],
    );
    t.equal((events[0] as PieceEvent & { type: 'piece' }).parts, pieces[0]!.parts, 'they are copied once');
    result.release();
  }
  await pipeline.idle();
});

void t.test('a caller hears that a stage begins again, and the result is of the run that it heard last', async (t) => {
  let run = 0;
  const go = gate();
  const graph = workflow('again', here)
    .stage('make', {
      maxPieces: 3,
      handler: async (task: StageTask) => {
        const number = ++run;
        await task.stream().write({}, { run: number });
        await task.stream().write({}, { run: number });
        if (number === 1) await new Promise((resolve) => task.signal.addEventListener('abort', resolve));
        await go.opened;
        await task.stream().write({}, { run: number });
        return {};
      },
    })
    .stage('pass', {
      after: ['make'],
      streams: ['make'],
      maxPieces: 3,
      handler: async (task) => {
        for await (const { meta } of task.pieces('make')) await task.stream().write({}, meta);
        return {};
      },
    });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const events: string[] = [];
  const running = pipeline.gateway.run(
    {},
    { onPiece: (event) => events.push(event.type === 'piece' ? `${event.meta.run}.${event.number}` : 'again') },
  );
  await until('two pieces', () => events.length === 2);
  await pipeline.replace('make/0');
  await until('the pieces of the second run', () => events.length === 5);
  t.same(events, ['1.0', '1.1', 'again', '2.0', '2.1']);
  go.open();
  const { outputs } = await within('the result', running);
  t.same(
    outputs[0]!.pieces!.map(({ meta }) => meta.run),
    [2, 2, 2],
  );
  t.equal(pipeline.count('pass/0', 'task'), 2);
  await pipeline.idle();
});

void t.test('a last stage whose process changes is heard again too', async (t) => {
  const graph = workflow('last', here).stage('make', {
    maxPieces: 2,
    handler: async (task: StageTask) => {
      await task.stream().write({});
      await go.opened;
      await task.stream().write({});
      return {};
    },
  });
  const go = gate();
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const events: string[] = [];
  const running = pipeline.gateway.run({}, { onPiece: (event) => events.push(words(event)) });
  await until('a piece', () => events.length === 1);
  await pipeline.replace('make/0');
  await until('it again', () => events.length === 3);
  go.open();
  await within('the result', running);
  t.same(events, ['make/0:0', 'make again', 'make/0:0', 'make/0:1']);
  await pipeline.idle();
});

void t.test('what onPiece throws ends the request, and what is no function is refused', async (t) => {
  const graph = workflow('thrown', here).stage('make', {
    maxPieces: 4,
    handler: async (task) => {
      await task.stream().write({});
      await task.stream().write({});
      return {};
    },
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  let count = 0;
  const onPiece = () => {
    count++;
    throw new Error('not this one');
  };
  const { code, message } = await failureOf(pipeline.gateway.run({}, { onPiece }));
  t.equal(code, 'RDMA_ERR_HANDLER');
  t.match(message, /onPiece has failed: Error: not this one/);
  t.equal(count, 1);
  t.equal(await codeOf(pipeline.gateway.run({}, { onPiece: 5 as never })), 'RDMA_ERR_INVALID_ARGUMENT');
  await pipeline.idle();
});

void t.test('a request that was aborted is heard of no more', async (t) => {
  const control = new AbortController();
  const graph = workflow('aborted', here).stage('make', {
    maxPieces: 9,
    handler: async (task) => {
      for (let i = 0; i < 9; i++) await task.stream().write({});
      return {};
    },
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  let count = 0;
  const onPiece = () => {
    if (++count === 2) control.abort();
  };
  t.equal(await codeOf(pipeline.gateway.run({}, { onPiece, signal: control.signal })), 'RDMA_ERR_ABORTED');
  await pipeline.idle();
  t.equal(count, 2);
});
