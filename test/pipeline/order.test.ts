// Proves that a pipeline does not wedge, whatever order its tasks end in and whichever acknowledgements a replaced
// instance takes with it: each case here stops for ever when a rule about retained messages, room in lanes or stale
// inputs is left out.
import t from 'tap';
import { type StageHandler, tensor, workflow } from '../../src/ts/pipeline/index.js';
import { gate, Harness, until, within } from './support.js';

const number = (meta: Record<string, unknown>) => Number(meta.n);

void t.test('two branches that finish in opposite orders do not wait for one another', async (t) => {
  const gates = { left: [gate(), gate(), gate(), gate()], right: [gate(), gate(), gate(), gate()] };
  const branch =
    (side: 'left' | 'right'): StageHandler =>
    async (task) => {
      const { meta } = task.input('turns');
      await gates[side][number(meta)]?.opened;
      return { meta };
    };
  const graph = workflow('opposite', { module: __filename })
    .stage('turns', { instances: 2, handler: (task) => ({ meta: task.input('request').meta }) })
    .stage('left', { after: ['turns'], concurrency: 8, handler: branch('left') })
    .stage('right', { after: ['turns'], concurrency: 8, handler: branch('right') })
    .stage('join', { after: ['left', 'right'], handler: (task) => ({ meta: task.input('left').meta }) });
  const pipeline = await Harness.open(graph, { maxInFlight: 4 });
  t.teardown(() => pipeline.close());
  const results = Array.from({ length: 24 }, (_, n) => pipeline.proxy.run({ meta: { n } }));
  // Left sends 3 first, right sends 2 first: what comes behind must be retained until both have sent both.
  gates.left[3]?.open();
  gates.right[2]?.open();
  await until('the first of left', () => pipeline.retained('left/0', 'join/0') === 1);
  await until('the first of right', () => pipeline.retained('right/0', 'join/0') === 1);
  for (const side of [gates.left, gates.right]) for (const early of side.slice(0, 2)) early.open();
  await within('those that both have sent', Promise.all([0, 1, 4, 5].map((n) => results[n])));
  await pipeline.still();
  t.equal(pipeline.retained('left/0', 'join/0'), 5);
  gates.left[2]?.open();
  gates.right[3]?.open();
  const outputs = await within('all results', Promise.all(results));
  t.same(
    outputs.map((result) => result.outputs[0]?.meta.n),
    Array.from({ length: 24 }, (_, n) => n),
  );
});

void t.test('the oldest request bounds how far the others get ahead', async (t) => {
  const first = gate();
  const graph = workflow('window', { module: __filename }).stage('a', {
    concurrency: 64,
    handler: async (task) => {
      const { meta } = task.input('request');
      if (number(meta) === 0) await first.opened;
      return { meta };
    },
  });
  const pipeline = await Harness.open(graph, { maxInFlight: 4 });
  t.teardown(() => pipeline.close());
  const results = Array.from({ length: 12 }, (_, n) => pipeline.proxy.run({ meta: { n } }));
  await within('those beside the oldest', Promise.all(results.slice(1, 4)));
  t.same(pipeline.proxy.load, { inFlight: 1, queued: 8 });
  t.equal(pipeline.count('a/0', 'task'), 4);
  first.open();
  await within('all results', Promise.all(results));
  t.same(pipeline.proxy.load, { inFlight: 0, queued: 0 });
});

void t.test('messages of the largest size in opposite orders find room', async (t) => {
  const size = 300_000;
  const largest = size + 240 * 1024; // with what is allowed for the head
  const hold = new Map<string, ReturnType<typeof gate>>();
  const gateOf = (key: string) => {
    const known = hold.get(key) ?? gate();
    hold.set(key, known);
    return known;
  };
  // Of each pair of requests, left answers the even one first and right the odd one; sizes differ to move the ring on.
  // In both lanes a small message waits while a large one, which the other lane's small one waits for, needs room.
  const branch =
    (parity: number, side: string): StageHandler =>
    async (task) => {
      const { meta } = task.input('request');
      const n = number(meta);
      if (n % 2 === parity) await gateOf(`${side}/${n ^ 1}`).opened;
      else gateOf(`${side}/${n}`).open();
      const pair = n >> 1;
      const length = n % 2 === parity ? largest - (pair % 3) * 60_000 : 1 + Math.floor((size * ((pair * 7) % 10)) / 10);
      return { meta, parts: { x: tensor('u8', [length], new Uint8Array(length).fill(n)) } };
    };
  const graph = workflow('room', { module: __filename })
    .stage('left', { concurrency: 8, maxOutputBytes: size, handler: branch(1, 'left') })
    .stage('right', { concurrency: 8, maxOutputBytes: size, handler: branch(0, 'right') })
    .stage('join', {
      after: ['left', 'right'],
      handler: (task) => {
        const sums = (['left', 'right'] as const).map((name) => {
          const data = task.input(name).parts.x?.data as Uint8Array;
          return data.every((value) => value === data[0]) ? data[0] : -1;
        });
        return { meta: { n: task.input('left').meta.n, sums } };
      },
    });
  const pipeline = await Harness.open(graph, { maxInFlight: 2 });
  t.teardown(() => pipeline.close());
  const outputs = await within(
    'all results',
    Promise.all(Array.from({ length: 64 }, (_, n) => pipeline.proxy.run({ meta: { n } }))),
  );
  t.same(
    outputs.map((result) => result.outputs[0]?.meta),
    Array.from({ length: 64 }, (_, n) => ({ n, sums: [n, n] })),
  );
});

void t.test('a replaced fan-in stage does not wait for inputs that were acknowledged before it died', async (t) => {
  // The slow branch keeps one request back, so the fast one retains those behind it, which the slow one forgets.
  const late = gate();
  let held = true;
  const graph = workflow('stale', { module: __filename })
    .stage('left', { concurrency: 8, handler: (task) => ({ meta: task.input('request').meta }) })
    .stage('right', {
      concurrency: 8,
      handler: async (task) => {
        const { meta } = task.input('request');
        if (number(meta) === 0 && held) await late.opened;
        return { meta };
      },
    })
    .stage('join', { after: ['left', 'right'], handler: (task) => ({ meta: task.input('right').meta }) });
  const pipeline = await Harness.open(graph, { maxInFlight: 4 });
  t.teardown(() => pipeline.close());
  const results = Array.from({ length: 4 }, (_, n) => pipeline.proxy.run({ meta: { n } }));
  await within('those beside the oldest', Promise.all(results.slice(1)));
  await until('the acknowledgements', () => pipeline.retained('right/0', 'join/0') === 0);
  t.equal(pipeline.retained('left/0', 'join/0'), 4);
  await pipeline.replace('join/0');
  held = false;
  late.open();
  await within('the oldest', results[0]!);
  // More than can be retained: what is stale must have been let go.
  for (let n = 4; n < 40; n++) {
    const result = await within(`request ${n}`, pipeline.proxy.run({ meta: { n } }));
    if (result.outputs[0]?.meta.n !== n) t.fail(`request ${n} has another result`);
  }
  t.same(pipeline.failures, []);
});

void t.test('instances are replaced again and again under load, and nothing is lost or answered twice', async (t) => {
  const graph = workflow('replace', { module: __filename })
    .stage('first', { concurrency: 4, handler: (task) => ({ meta: task.input('request').meta }) })
    .stage('shard', {
      after: ['first', 'request'],
      instances: 2,
      spread: 'shard',
      handler: (task) => ({ meta: task.input('first').meta }),
    })
    .stage('turns', { after: ['shard'], instances: 2, handler: (task) => ({ meta: task.inputs('shard')[1]!.meta }) })
    .stage('side', { after: ['request'], handler: (task) => ({ meta: task.input('request').meta }) })
    .stage('last', { after: ['turns', 'side'], handler: (task) => ({ meta: task.input('turns').meta }) });
  const pipeline = await Harness.open(graph, { maxInFlight: 6 });
  t.teardown(() => pipeline.close());
  const places = [...pipeline.stages.keys()];
  let next = 0;
  const answered = new Set<unknown>();
  const client = async () => {
    while (next < 200) {
      const n = next++;
      const result = await pipeline.proxy.run({ meta: { n } });
      if (result.outputs.length !== 1 || result.outputs[0]?.meta.n !== n) t.fail(`request ${n} has another result`);
      answered.add(n);
    }
  };
  const clients = Array.from({ length: 8 }, client);
  for (let round = 0; round < 21; round++) {
    const from = answered.size;
    await until('progress', () => answered.size > from || answered.size === 200);
    await within('a replacement', pipeline.replace(places[round % places.length]!));
  }
  await within('all results', Promise.all(clients));
  t.equal(answered.size, 200);
  t.same(pipeline.failures, []);
});
