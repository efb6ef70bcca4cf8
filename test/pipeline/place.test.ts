// Proves what places keep for one another: whatever order tasks end in, whichever instance is replaced and when, every
// request is answered once with its own result; nothing wedges, and nothing is acknowledged that is still needed.
import t from 'tap';
import { type DeviceAddress, type StageHandler, tensor, workflow } from '../../src/ts/pipeline/index.js';
import { placeSecret } from '../../src/ts/pipeline/lane-sizes.js';
import { Outbox } from '../../src/ts/ring/index.js';
import { bytes, DEVICE, failureOf, gate, Harness, SECRET, until, within } from './support.js';

const here = { module: __filename };
const number = (meta: Record<string, unknown>) => Number(meta.n);
const echo: StageHandler = (task) => ({ meta: task.input('request').meta });

void t.test('two branches that finish in opposite orders do not wait for one another', async (t) => {
  const gates = { left: [gate(), gate(), gate(), gate()], right: [gate(), gate(), gate(), gate()] };
  const branch =
    (side: 'left' | 'right'): StageHandler =>
    async (task) => {
      const { meta } = task.input('turns');
      await gates[side][number(meta)]?.opened;
      return { meta };
    };
  const graph = workflow('opposite', here)
    .stage('turns', { instances: 2, handler: echo })
    .stage('left', { after: ['turns'], concurrency: 8, handler: branch('left') })
    .stage('right', { after: ['turns'], concurrency: 8, handler: branch('right') })
    .stage('join', { after: ['left', 'right'], handler: (task) => ({ meta: task.input('left').meta }) });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const results = Array.from({ length: 24 }, (_, n) => pipeline.gateway.run({ meta: { n } }));
  // Left sends 3 first, right sends 2 first.
  gates.left[3]!.open();
  gates.right[2]!.open();
  await within('those that no gate holds', Promise.all(results.slice(4)));
  t.ok(pipeline.unacknowledged('left/0', 'join/0') >= 1, 'what waits for the other branch is kept');
  t.ok(pipeline.unacknowledged('right/0', 'join/0') >= 1);
  for (const side of [gates.left, gates.right]) for (const { open } of side) open();
  const outputs = await within('all results', Promise.all(results));
  t.same(
    outputs.map((result) => result.outputs[0]?.meta.n),
    Array.from({ length: 24 }, (_, n) => n),
  );
  await pipeline.idle();
});

void t.test('the oldest request does not bound how far the others get ahead', async (t) => {
  const first = gate();
  const graph = workflow('ahead', here).stage('a', {
    concurrency: 2,
    handler: async (task) => {
      const { meta } = task.input('request');
      if (number(meta) === 0) await first.opened;
      return { meta };
    },
  });
  const pipeline = await Harness.open(graph, { maxQueued: 4096 });
  t.teardown(() => pipeline.close());
  const results = Array.from({ length: 2000 }, (_, n) => pipeline.gateway.run({ meta: { n } }));
  await within('all others', Promise.all(results.slice(1)));
  t.same(pipeline.gateway.load, { inFlight: 1, queued: 0 });
  first.open();
  await within('the oldest', results[0]!);
  await pipeline.idle();
});

void t.test('large messages in opposite orders find room', async (t) => {
  const size = 300_000;
  const hold = new Map<string, ReturnType<typeof gate>>();
  const gateOf = (key: string) => {
    const known = hold.get(key) ?? gate();
    hold.set(key, known);
    return known;
  };
  // Of each pair of requests, left answers the even one first and right the odd one.
  const branch =
    (parity: number, side: string): StageHandler =>
    async (task) => {
      const { meta } = task.input('request');
      const n = number(meta);
      if (n % 2 === parity) await gateOf(`${side}/${n ^ 1}`).opened;
      else gateOf(`${side}/${n}`).open();
      const pair = n >> 1;
      const length = n % 2 === parity ? size - (pair % 3) * 60_000 : 1 + Math.floor((size * ((pair * 7) % 10)) / 10);
      return { meta, parts: { x: tensor('u8', [length], new Uint8Array(length).fill(n)) } };
    };
  const graph = workflow('room', here)
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
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const outputs = await within(
    'all results',
    Promise.all(Array.from({ length: 64 }, (_, n) => pipeline.gateway.run({ meta: { n } }))),
  );
  t.same(
    outputs.map((result) => result.outputs[0]?.meta),
    Array.from({ length: 64 }, (_, n) => ({ n, sums: [n, n] })),
  );
  await pipeline.idle();
});

void t.test('what finds no memory waits for it: requests at the gateway, outputs at their stage', async (t) => {
  // Twelve blocks of this size at most, where one request needs up to eight.
  const sizes = { poolBytes: 12 * 65_536 };
  const parts = (n: number) =>
    Object.fromEntries(
      Array.from(
        { length: 8 },
        (_, i) => [`p${i}`, tensor('u8', [65_536], new Uint8Array(65_536).fill(n + i))] as const,
      ),
    );
  const graph = workflow('memory', { ...here, maxRequestBytes: 65_536 }).stage('a', {
    concurrency: 8,
    maxOutputBytes: 8 * 65_536,
    handler: (task) => {
      const { n } = task.input('request').meta;
      const made = task.output({ x: { dtype: 'u8', shape: [65_536] }, y: { dtype: 'u8', shape: [65_536] } });
      for (const [i, part] of [made.x, made.y].entries()) (part.data as Uint8Array).fill(Number(n) + i);
      return { meta: { n }, parts: { ...parts(Number(n)), p0: made.x, p1: made.y } };
    },
  });
  const pipeline = await Harness.open(graph, { sizes });
  t.teardown(() => pipeline.close());
  const request = (n: number) => ({ meta: { n }, parts: { x: tensor('u8', [65_000], new Uint8Array(65_000)) } });
  const held = await within('views', pipeline.gateway.run(request(0), { views: true }));
  const results = Array.from({ length: 60 }, (_, n) => pipeline.gateway.run(request(n)));
  await until('an output that waits', () => pipeline.stages.get('a/0')!.status().unsent > 0);
  held.release();
  for (const [n, { outputs }] of (await within('all', Promise.all(results))).entries()) {
    const isRight = [0, 1, 2, 7].every((i) => {
      const data = outputs[0]!.parts[`p${i}`]!.data as Uint8Array;
      return data.length === 65_536 && data.every((value) => value === n + i);
    });
    if (!isRight || outputs[0]!.meta.n !== n) t.fail(`request ${n} has another result`);
  }
  t.ok(pipeline.stages.get('a/0')!.status().pool.registeredBytes <= sizes.poolBytes);
  await pipeline.idle();
});

void t.test('a replaced fan-in stage gets again what was not acknowledged, and no more', async (t) => {
  // The slow branch keeps one request back, whose other branch is kept for it.
  const late = gate();
  let held = true;
  const graph = workflow('stale', here)
    .stage('left', { concurrency: 8, handler: echo })
    .stage('right', {
      concurrency: 8,
      handler: async (task) => {
        const { meta } = task.input('request');
        if (number(meta) === 0 && held) await late.opened;
        return { meta };
      },
    })
    .stage('join', { after: ['left', 'right'], handler: (task) => ({ meta: task.input('right').meta }) });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const results = Array.from({ length: 4 }, (_, n) => pipeline.gateway.run({ meta: { n } }));
  await within('those beside the oldest', Promise.all(results.slice(1)));
  await until('the acknowledgements', () => pipeline.unacknowledged('right/0', 'join/0') === 0);
  t.ok(pipeline.unacknowledged('left/0', 'join/0') >= 1);
  await pipeline.replace('join/0');
  held = false;
  late.open();
  await within('the oldest', results[0]!);
  for (let n = 4; n < 40; n++) {
    const result = await within(`request ${n}`, pipeline.gateway.run({ meta: { n } }));
    if (result.outputs[0]?.meta.n !== n) t.fail(`request ${n} has another result`);
  }
  t.same(pipeline.failures, []);
  await pipeline.idle();
});

void t.test('instances are replaced again and again under load, and nothing is lost or answered twice', async (t) => {
  const graph = workflow('replace', here)
    .stage('first', { concurrency: 4, handler: echo })
    .stage('shard', {
      after: ['first', 'request'],
      instances: 2,
      spread: 'shard',
      handler: (task) => ({ meta: task.input('first').meta, parts: task.input('request').parts }),
    })
    .stage('turns', { after: ['shard'], instances: 2, handler: (task) => ({ meta: task.inputs('shard')[1]!.meta }) })
    .stage('side', { after: ['request'], handler: echo })
    .stage('last', { after: ['turns', 'side'], handler: (task) => ({ meta: task.input('turns').meta }) });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const places = [...pipeline.stages.keys()];
  let next = 0;
  const answered = new Set<unknown>();
  const total = 300;
  const client = async () => {
    while (next < total) {
      const n = next++;
      // Large and small ones: through lanes and from blocks.
      const x = tensor('u8', [n % 3 === 0 ? 20_000 : 20], new Uint8Array(n % 3 === 0 ? 20_000 : 20));
      const result = await pipeline.gateway.run({ meta: { n }, parts: { x } });
      if (result.outputs.length !== 1 || result.outputs[0]?.meta.n !== n) t.fail(`request ${n} has another result`);
      answered.add(n);
    }
  };
  const clients = Array.from({ length: 8 }, client);
  for (let round = 0; round < 21; round++) {
    const from = answered.size;
    await until('progress', () => answered.size > from || answered.size === total);
    await within('a replacement', pipeline.replace(places[round % places.length]!));
  }
  await within('all results', Promise.all(clients));
  t.equal(answered.size, total);
  t.same(pipeline.failures, []);
  await pipeline.idle();
});

void t.test('a handler that answers differently each time gives a result of one run', async (t) => {
  let runs = 0;
  const hold = gate();
  const graph = workflow('runs', here)
    .stage('draw', { handler: () => ({ meta: { drawn: ++runs } }) })
    .stage('left', { after: ['draw'], handler: (task) => ({ meta: task.input('draw').meta }) })
    .stage('right', {
      after: ['draw'],
      handler: async (task) => {
        const { meta } = task.input('draw');
        const stopped = new Promise((resolve) => task.signal.addEventListener('abort', resolve));
        if (meta.drawn === 1) await Promise.race([hold.opened, stopped]);
        return { meta };
      },
    })
    .stage('join', {
      after: ['left', 'right'],
      handler: (task) => ({ meta: { left: task.input('left').meta.drawn, right: task.input('right').meta.drawn } }),
    });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const request = pipeline.gateway.run({});
  await until('both branches', () => pipeline.count('left/0', 'done') === 1 && pipeline.count('right/0', 'task') === 1);
  // Neither branch has been acknowledged, so the one before them runs again.
  await pipeline.replace('draw/0');
  const { outputs } = await within('the result', request);
  hold.open();
  t.same(outputs[0]!.meta, { left: 2, right: 2 });
  await pipeline.idle();
});

void t.test('a message that no place sends ends the place, and is not acknowledged', async (t) => {
  const noise: [string, Uint8Array][] = [
    ['nothing', new Uint8Array(0)],
    ['zeros', new Uint8Array(64)],
    ['words', Buffer.from('OPM1 and nothing else')],
  ];
  for (const [name, message] of noise) {
    const pipeline = await Harness.open(workflow('stranger', here).stage('a', { handler: echo }));
    t.teardown(() => pipeline.close());
    const [to] = pipeline.stages.get('a/0')!.address.devices as [DeviceAddress];
    const secret = placeSecret(SECRET, 'a/0');
    const outbox = await Outbox.connect({ to, secret, device: DEVICE, retainMessages: 8 });
    t.teardown(() => outbox.close());
    await outbox.send(message);
    await until('the refusal', () => pipeline.failures.length === 1);
    t.match(pipeline.failures[0], { code: 'RDMA_ERR_PROTOCOL' }, name);
    t.equal(outbox.acknowledged, 0);
  }
});

void t.test('who means another place does not get in', async (t) => {
  const pipeline = await Harness.open(workflow('secret', here).stage('a', { handler: echo }));
  t.teardown(() => pipeline.close());
  const [to] = pipeline.stages.get('a/0')!.address.devices as [DeviceAddress];
  for (const secret of [placeSecret(SECRET, 'b/0'), placeSecret(SECRET, 'gateway/0'), SECRET]) {
    const error = await failureOf(Outbox.connect({ to, secret, device: DEVICE, reconnectMs: 0 }));
    t.equal(error.code, 'RDMA_ERR_UNAUTHENTICATED', secret);
  }
  t.same((await within('a result', pipeline.gateway.run({ parts: { x: bytes(1) } }))).outputs.length, 1);
});
