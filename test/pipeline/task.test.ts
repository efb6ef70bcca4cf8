// Proves what a task is to its handler: a seed that stays, inputs as views, outputs in the memory that they are sent
// from, what is handed on without a copy; and that results are copies, or views until they are released.
import t from 'tap';
import { seedOf } from '../../src/ts/pipeline/task.js';
import { type StageTask, type Tensor, tensor, workflow } from '../../src/ts/pipeline/index.js';
import { codeOf, DEVICE, failureOf, gate, Harness, until, within } from './support.js';

const here = { module: __filename };
const isSoft = DEVICE === 'soft0';
const filled = (length: number, seed: number): Tensor =>
  tensor(
    'u8',
    [length],
    new Uint8Array(length).map((_, i) => (i * 7 + seed) & 0xff),
  );
const isFilled = (part: Tensor | undefined, length: number, seed: number) =>
  part?.data.length === length && (part.data as Uint8Array).every((value, i) => value === ((i * 7 + seed) & 0xff));

void t.test(
  'the seed of a request is the same in every attempt and at every stage, and differs from others',
  async (t) => {
    const seeds: number[][] = [];
    const hold = gate();
    let attempts = 0;
    const note = async (task: StageTask) => {
      const n = Number(task.inputs(task.stage === 'a' ? 'request' : 'a')[0]!.meta.n);
      seeds[n] ??= [];
      seeds[n].push(task.seed);
      if (task.stage === 'b' && n === 0 && attempts++ === 0) await hold.opened;
      return { meta: { n } };
    };
    const graph = workflow('seeds', here)
      .stage('a', { handler: note })
      .stage('b', { after: ['a'], handler: note });
    const pipeline = await Harness.open(graph);
    t.teardown(() => pipeline.close());
    const first = pipeline.gateway.run({ meta: { n: 0 } });
    await until('the task', () => attempts === 1);
    await pipeline.replace('b/0');
    await within('the result', first);
    hold.open();
    await within('another', pipeline.gateway.run({ meta: { n: 1 } }));
    t.equal(seeds[0]!.length, 3, 'a once, b twice');
    t.equal(new Set(seeds[0]).size, 1);
    t.equal(new Set(seeds[1]).size, 1);
    t.not(seeds[0]![0], seeds[1]![0]);
    t.ok(seeds.flat().every((seed) => Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32));
  },
);

void t.test('seeds are spread', async (t) => {
  const all = new Set<number>();
  for (let ticket = 1; ticket <= 10_000; ticket++) all.add(seedOf(12345, ticket));
  t.ok(all.size > 9_980, `${all.size} of 10 000`);
  t.not(seedOf(1, 2 ** 32 + 1), seedOf(1, 1));
});

void t.test('functions of a task may be taken out of it', async (t) => {
  const graph = workflow('taken', here).stage('a', {
    handler: ({ input, inputs, output, progress, signal, request, seed }) => {
      progress(0.5);
      const { x } = output({ x: { dtype: 'u8', shape: [2] } });
      x.data.fill(inputs('request').length as never);
      const ok = input('request').meta.n === 1 && !signal.aborted && request.length > 0 && seed >= 0;
      return { meta: { ok }, parts: { x } };
    },
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const { outputs } = await within('a result', pipeline.gateway.run({ meta: { n: 1 } }));
  t.same([outputs[0]!.meta, [...outputs[0]!.parts.x!.data]], [{ ok: true }, [1, 1]]);
});

void t.test('what is made with output() arrives as it was made, small and large, returned or not', async (t) => {
  const sizes = [0, 1, 3000, 100_000, 5_000_000];
  const graph = workflow('outputs', here).stage('a', {
    maxOutputBytes: 2 ** 24,
    handler: (task) => {
      const seed = Number(task.input('request').meta.n);
      const made: Record<string, Tensor> = task.output({
        ...Object.fromEntries(sizes.map((size) => [`p${size}`, { dtype: 'u8', shape: [size] }] as const)),
        unused: { dtype: 'f64', shape: [1000, 100] },
      });
      for (const size of sizes) (made[`p${size}`]!.data as Uint8Array).set(filled(size, seed).data as Uint8Array);
      (made.unused!.data as Float64Array).fill(seed);
      const { unused: _, ...parts } = made;
      return { parts };
    },
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const results = await within('all', Promise.all([1, 2, 3, 4].map((n) => pipeline.gateway.run({ meta: { n } }))));
  results.forEach(({ outputs }, i) => {
    for (const size of sizes) t.ok(isFilled(outputs[0]!.parts[`p${size}`], size, i + 1), `${size} bytes`);
    t.notOk('unused' in outputs[0]!.parts);
  });
  await pipeline.idle();
});

void t.test('outputs of a task that fails are given back', async (t) => {
  const graph = workflow('given-back', here).stage('a', {
    handler: (task) => {
      const made = task.output({ x: { dtype: 'u8', shape: [100_000] } });
      if (task.input('request').meta.how === 'throws') throw new Error('no');
      return { parts: made, meta: { bad: Number.NaN } };
    },
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  for (const how of ['throws', 'answers'])
    t.match(await failureOf(pipeline.gateway.run({ meta: { how } })), { code: /FAILED/ });
  await pipeline.idle();
});

void t.test('output() refuses what no tensor can be', async (t) => {
  const wrong: unknown[] = [
    undefined,
    null,
    { x: null },
    { x: { dtype: 'f31', shape: [1] } },
    { x: { dtype: 'u8', shape: [-1] } },
    { x: { dtype: 'u8', shape: 'x' } },
    { x: { dtype: 'u8' } },
    { x: { dtype: 'u8', shape: [1, 1, 1, 1, 1, 1, 1, 1, 1] } },
    { x: { dtype: 'f64', shape: [2 ** 26, 2 ** 26] } },
  ];
  const codes: string[] = [];
  const graph = workflow('wrong', here).stage('a', {
    handler: (task) => {
      for (const shapes of wrong) {
        try {
          task.output(shapes as never);
          codes.push('ok');
        } catch (error) {
          codes.push((error as { code: string }).code ?? String(error));
        }
      }
      return {};
    },
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  t.equal(await codeOf(pipeline.gateway.run({})), 'ok');
  t.same(
    codes,
    wrong.map(() => 'RDMA_ERR_INVALID_ARGUMENT'),
  );
});

void t.test('a tensor larger than a lane passes every stage as it is', async (t) => {
  const size = 20_000_000;
  const graph = workflow('large', { ...here, maxRequestBytes: 2 ** 25 })
    .stage('a', { maxOutputBytes: 2 ** 25, handler: (task) => ({ parts: { y: task.input('request').parts.x! } }) })
    .stage('b', {
      after: ['a'],
      maxOutputBytes: 2 ** 25,
      handler: (task) => ({
        parts: { z: tensor('u8', [size], (task.input('a').parts.y!.data as Uint8Array).slice()) },
      }),
    });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  for (const seed of [1, 2, 3]) {
    const { outputs } = await within('a result', pipeline.gateway.run({ parts: { x: filled(size, seed) } }));
    t.ok(isFilled(outputs[0]!.parts.z, size, seed));
  }
  await pipeline.idle();
});

void t.test(
  'what is handed on as it came goes on without a copy, and survives its maker',
  { skip: !isSoft },
  async (t) => {
    const size = 1_000_000;
    const hold = gate();
    let waiting = false;
    const graph = workflow('handed', { ...here, maxRequestBytes: 2 ** 21 })
      .stage('a', {
        maxOutputBytes: 2 ** 21,
        handler: (task) => ({
          parts: { x: tensor('u8', [size], (task.input('request').parts.x!.data as Uint8Array).slice()) },
        }),
      })
      .stage('b', { after: ['a'], maxOutputBytes: 2 ** 21, handler: (task) => ({ parts: task.input('a').parts }) })
      .stage('c', {
        after: ['b'],
        maxOutputBytes: 2 ** 21,
        handler: async (task) => {
          waiting = true;
          await hold.opened;
          return { parts: task.input('b').parts };
        },
      });
    const pipeline = await Harness.open(graph);
    t.teardown(() => pipeline.close());
    const request = pipeline.gateway.run({ parts: { x: filled(size, 5) } });
    await until('the last task', () => waiting);
    const used = (place: string) => pipeline.stages.get(place)!.status().pool.usedBytes;
    t.ok(used('a/0') >= size, 'a holds its output');
    t.ok(used('b/0') < size, 'b holds no copy of it');
    await pipeline.replace('a/0');
    hold.open();
    const { outputs } = await within('the result', request);
    t.ok(isFilled(outputs[0]!.parts.x, size, 5));
    await pipeline.idle();
  },
);

void t.test('results are copies, which stay whatever comes after', async (t) => {
  const graph = workflow('copies', here).stage('a', { handler: (task) => ({ parts: task.input('request').parts }) });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const result = await within('a result', pipeline.gateway.run({ parts: { x: filled(50_000, 1) } }));
  await pipeline.idle();
  for (let n = 2; n < 20; n++) await within('another', pipeline.gateway.run({ parts: { x: filled(50_000, n) } }));
  result.release();
  result.release();
  t.ok(isFilled(result.outputs[0]!.parts.x, 50_000, 1));
});

void t.test('views hold the memory of the stage that made them until they are released, once', async (t) => {
  const graph = workflow('views', here).stage('a', {
    handler: (task) => {
      const { x } = task.output({ x: { dtype: 'u8', shape: [50_000] } });
      (x.data as Uint8Array).set(filled(50_000, Number(task.input('request').meta.n)).data as Uint8Array);
      return { parts: { x } };
    },
  });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const results = [];
  for (let n = 0; n < 10; n++) {
    results.push(await within('a result', pipeline.gateway.run({ meta: { n } }, { views: true })));
  }
  t.same(pipeline.gateway.load, { inFlight: 0, queued: 0 }, 'a request with views has ended');
  t.equal(pipeline.unacknowledged('a/0', 'gateway/0'), 10);
  for (let n = 0; n < 100; n++) await within('a copy', pipeline.gateway.run({ meta: { n } }));
  for (const [n, { outputs }] of results.entries()) t.ok(isFilled(outputs[0]!.parts.x, 50_000, n), `view ${n}`);
  for (const result of [...results, ...results]) result.release();
  await pipeline.idle();
});
