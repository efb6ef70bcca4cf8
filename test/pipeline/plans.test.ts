// Proves that plans change under load: places come and go, no request fails, those of the older plan end under it, and
// what a gateway gives up begins again as another attempt.
import t from 'tap';
import { type StageHandler, type StageTask, tensor, workflow } from '../../src/ts/pipeline/index.js';
import { codeOf, gate, Harness, until, within } from './support.js';

const here = { module: __filename };
const echo: StageHandler = (task) => ({ meta: task.input('request').meta });

// Three stages, of which the middle one is sharded.
function graphOfThree() {
  return workflow('plans', here)
    .stage('a', { instances: 2, concurrency: 2, handler: echo })
    .stage('b', {
      after: ['a', 'request'],
      spread: 'shard',
      handler: (task) => ({
        meta: { ...task.input('a').meta, of: task.instances },
        parts: task.input('request').parts,
      }),
    })
    .stage('c', {
      after: ['b'],
      handler: (task) => ({ meta: { ...task.input('b').meta, shards: task.inputs('b').length } }),
    });
}

// Clients that go on until they are stopped; answers how many requests they ran and what was wrong.
function clients(pipeline: Harness, count: number) {
  let stopped = false;
  let finished = 0;
  const wrong: string[] = [];
  const client = async (seed: number) => {
    for (let n = seed; !stopped; n += count) {
      const size = n % 5 === 0 ? 10_000 : 10;
      const parts = { x: tensor('u8', [size], new Uint8Array(size)) };
      try {
        const gateway = pipeline.gateways[n % pipeline.gateways.length]!;
        const { outputs } = await within(`request ${n}`, gateway.run({ meta: { n }, parts }));
        const { meta } = outputs[0]!;
        // All shards of one request belong to one plan.
        if (outputs.length !== 1 || meta.n !== n || meta.of !== meta.shards) wrong.push(JSON.stringify(meta));
      } catch (error) {
        wrong.push(`${n}: ${String(error)}`);
        return;
      }
      finished++;
    }
  };
  const all = Promise.all(Array.from({ length: count }, (_, i) => client(i)));
  return {
    wrong,
    get finished() {
      return finished;
    },
    stop: async () => {
      stopped = true;
      await all;
    },
  };
}

void t.test('stages grow and shrink under load, and no request fails', async (t) => {
  const pipeline = await Harness.open(graphOfThree(), { gateways: 2 });
  t.teardown(() => pipeline.close());
  const load = clients(pipeline, 8);
  const plans: Record<string, number[]>[] = [
    { a: [0, 1, 2], b: [0, 1] },
    { a: [2], c: [0, 1] },
    { b: [1, 2, 3] },
    { a: [0, 2, 5], b: [0], c: [1] },
    { a: [0, 1], b: [0], c: [0] },
  ];
  for (const instances of plans) {
    const from = load.finished;
    await until('progress', () => load.finished > from + 20);
    await within(
      'the change',
      pipeline.prepare(instances).then((old) => pipeline.change(old)),
    );
  }
  const from = load.finished;
  await until('progress under the last plan', () => load.finished > from + 20);
  await load.stop();
  t.same(load.wrong, []);
  t.same(pipeline.failures, []);
  t.same([...pipeline.stages.keys()].sort(), ['a/0', 'a/1', 'b/0', 'c/0']);
  for (const place of [...pipeline.stages.values(), ...pipeline.gateways]) t.same(place.status().plans, [6]);
  await pipeline.idle();
});

void t.test('a request ends under the plan that admitted it', async (t) => {
  const hold = gate();
  const seen: [unknown, number, number][] = [];
  const handler = async (task: StageTask) => {
    const { n } = task.input('request').meta;
    seen.push([n, task.instance, task.instances]);
    if (n === 0) await hold.opened;
    return { meta: { n } };
  };
  const graph = workflow('under', here).stage('a', { concurrency: 4, handler });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  const first = pipeline.gateway.run({ meta: { n: 0 } });
  await until('the task', () => seen.length === 1);
  const old = await pipeline.prepare({ a: [7] });
  await pipeline.gateway.adopt(pipeline.plan);
  let changed = false;
  const change = pipeline.change(old).then(() => {
    changed = true;
  });
  await within('one of the new plan', pipeline.gateway.run({ meta: { n: 1 } }));
  t.notOk(changed, 'the older plan is not empty');
  t.same([pipeline.gateway.inFlightUnder(1), pipeline.gateway.inFlightUnder(2)], [1, 0]);
  t.same(pipeline.gateway.status().plans, [1, 2]);
  hold.open();
  await within('the older one', first);
  await within('the change', change);
  t.same([...pipeline.stages.keys()], ['a/7']);
  t.same(
    seen.map(([n]) => n),
    [0, 1],
  );
  t.equal(await codeOf(pipeline.gateway.retire(2)), 'RDMA_ERR_INVALID_ARGUMENT', 'not the newest');
  await pipeline.idle();
});

void t.test('a process that is replaced during a change works under both plans', async (t) => {
  const pipeline = await Harness.open(graphOfThree());
  t.teardown(() => pipeline.close());
  const load = clients(pipeline, 6);
  for (let round = 0; round < 6; round++) {
    const from = load.finished;
    await until('progress', () => load.finished > from + 10);
    const old = await pipeline.prepare({ a: round % 2 === 0 ? [0, 1, 2] : [0, 1], b: round % 2 === 0 ? [0, 1] : [0] });
    // Requests of the older plan are under way through it.
    await within('a replacement', pipeline.replace(['b/0', 'c/0', 'a/0'][round % 3]!, [old]));
    await within('the change', pipeline.change(old));
  }
  await load.stop();
  t.same(load.wrong, []);
  t.same(pipeline.failures, []);
  await pipeline.idle();
});

void t.test('a request may come before its plan', async (t) => {
  const graph = workflow('early', here).stage('a', { handler: echo });
  const pipeline = await Harness.open(graph);
  t.teardown(() => pipeline.close());
  // The gateway is ahead: against the rule, but messages may overtake one another.
  const { makePlan } = await import('../../src/ts/pipeline/index.js');
  const plan = makePlan(graph.spec, 2);
  await pipeline.gateway.adopt(plan);
  const request = pipeline.gateway.run({ meta: { n: 1 } });
  await until('the message', () => pipeline.stages.get('a/0')!.status().early === 1);
  t.notOk(pipeline.stages.get('a/0')!.isDrained);
  await pipeline.stages.get('a/0')!.adopt(plan);
  t.same((await within('the result', request)).outputs[0]?.meta, { n: 1 });
  t.equal(pipeline.stages.get('a/0')!.status().early, 0);
});

void t.test('what was given up begins again under the newest plan, before all that wait', async (t) => {
  const hold = gate();
  const ran: { n: unknown; place: number; seed: number }[] = [];
  const graph = workflow('given-up', here)
    .stage('a', { handler: echo })
    .stage('b', {
      after: ['a'],
      handler: async (task) => {
        const { n } = task.input('a').meta;
        ran.push({ n, place: task.instances, seed: task.seed });
        if (ran.length <= 1) await Promise.race([hold.opened, aborted(task)]);
        return { meta: { n } };
      },
    });
  const aborted = (task: StageTask) => new Promise((resolve) => task.signal.addEventListener('abort', resolve));
  const pipeline = await Harness.open(graph, { maxInFlight: 2 });
  t.teardown(() => pipeline.close());
  const results = Array.from({ length: 6 }, (_, n) => pipeline.gateway.run({ meta: { n } }));
  await until('the first task', () => ran.length === 1);
  await pipeline.prepare({ b: [1] });
  await pipeline.gateway.adopt(pipeline.plan);
  // The process of b/0 is gone for good, with whatever it had.
  await pipeline.remove('b/0');
  const given = [pipeline.gateway, pipeline.stages.get('a/0')!].map((place) => place.giveUp({ stage: 1, instance: 0 }));
  const outputs = await within('all', Promise.all(results));
  t.same(
    outputs.map((result) => result.outputs[0]!.meta.n),
    [0, 1, 2, 3, 4, 5],
  );
  t.same(
    ran.map(({ n }) => n),
    [0, 0, 1, 2, 3, 4, 5],
  );
  t.equal(ran[0]!.seed, ran[1]!.seed);
  t.equal(new Set(outputs.map(({ request }) => request)).size, 6);
  await within('the end of the older plan', pipeline.gateway.retire(1));
  await within('the ways to it to close', Promise.all(given));
  hold.open();
});

void t.test('all requests may be given up at a time, and deadlines and aborts still reach them', async (t) => {
  let away = true;
  const graph = workflow('all-given-up', here).stage('a', {
    instances: 2,
    concurrency: 4,
    handler: async (task) => {
      if (away) await new Promise((resolve) => task.signal.addEventListener('abort', resolve));
      return echo(task);
    },
  });
  const pipeline = await Harness.open(graph, { maxInFlight: 4 });
  t.teardown(() => pipeline.close());
  const { gateway } = pipeline;
  const control = new AbortController();
  const four = [
    codeOf(gateway.run({ meta: { n: 0 } })),
    codeOf(gateway.run({ meta: { n: 1 } }, { signal: control.signal })),
    codeOf(gateway.run({ meta: { n: 2 } }, { timeoutMs: 5000 })),
    codeOf(gateway.run({ meta: { n: 3 } })),
  ];
  await until('four tasks', () => pipeline.count('a/0', 'task') + pipeline.count('a/1', 'task') === 4);
  t.equal(await codeOf(gateway.giveUp({ stage: 0, instance: 0 })), 'RDMA_ERR_INVALID_ARGUMENT', 'it is in the plan');
  const old = await pipeline.prepare({ a: [2, 3] });
  await gateway.adopt(pipeline.plan);
  away = false;
  const given = [0, 1].map((instance) => gateway.giveUp({ stage: 0, instance }));
  control.abort();
  t.same(await Promise.all(four), ['ok', 'RDMA_ERR_ABORTED', 'ok', 'ok']);
  t.same(gateway.load, { inFlight: 0, queued: 0 });
  await within('the ways to them to close', Promise.all(given));
  await pipeline.change(old);
  await pipeline.idle();
});
