// Proves that a request may choose, where the spec leaves it open, between one instance and all of them, at run time
// and side by side; that each instance knows whether it does all or its share; and that what the spec forbids is
// refused.
import t from 'tap';
import { graphOf, makePlan, type Spread, type StageTask, workflow } from '../../src/ts/pipeline/index.js';
import { Admission } from '../../src/ts/pipeline/admission.js';
import { ALL } from '../../src/ts/pipeline/routing.js';
import { checkSpec } from '../../src/ts/pipeline/spec.js';
import { spreadsOf } from '../../src/ts/pipeline/spread.js';
import { codeOf, failureOf, Harness, within } from './support.js';

const INVALID = { code: 'RDMA_ERR_INVALID_ARGUMENT' };
const spec = checkSpec({
  name: 'flow',
  stages: [
    { name: 'a', instances: 2, spread: 'either' },
    { name: 'b', after: ['a'], instances: 3, spread: 'shard' },
    { name: 'c', after: ['b'], instances: 2 },
  ],
});

void t.test('a choice is read by name, and only what the spec leaves open can be chosen', async (t) => {
  t.same(spreadsOf(spec, {}), ['route', 'shard', 'route'], 'either is route where nothing is said');
  t.same(spreadsOf(spec, { a: 'shard' }), ['shard', 'shard', 'route']);
  t.same(spreadsOf(spec, { a: 'route', b: 'shard', c: 'route' }), ['route', 'shard', 'route']);
  t.throws(() => spreadsOf(spec, { b: 'route' }), { ...INVALID, message: /stage b is of spread shard, not route/ });
  t.throws(() => spreadsOf(spec, { c: 'shard' }), INVALID);
  t.throws(() => spreadsOf(spec, { d: 'shard' }), { ...INVALID, message: /no stage d in flow/ });
  t.throws(() => spreadsOf(spec, { a: 'either' }), INVALID);
  t.throws(() => spreadsOf(spec, 'shard'), INVALID);
});

void t.test('admission counts a request at the instances that it chose', async (t) => {
  const admission = new Admission(graphOf(spec), makePlan(spec, 1), 16);
  const whole = admission.admit(0)!;
  t.same([...whole.route], [0, ALL, 0]);
  const shared = admission.admit(0, spreadsOf(spec, { a: 'shard' }))!;
  t.same([...shared.route], [ALL, ALL, 1]);
  t.same(
    shared.unfinished.map((loads) => loads.map(({ instance }) => instance)),
    [[0, 1], [0, 1, 2], [1]],
  );
  admission.ended(whole);
  admission.ended(shared);
  for (const { unfinished, resident } of admission.status()) t.equal(unfinished + resident, 0);
});

// Each instance adds the numbers of its share.
const sum = (task: StageTask<'request'>) => {
  const numbers = task.input('request').meta.numbers as number[];
  const own = numbers.filter((_, i) => i % task.instances === task.instance);
  return { meta: { sum: own.reduce((a, b) => a + b, 0), spread: task.spread, of: task.instances } };
};
const flow = workflow('sums', { module: __filename })
  .stage('part', { instances: 3, spread: 'either', handler: sum })
  .stage('total', {
    after: ['part'],
    handler: (task) => {
      const parts = task.inputs('part').map(({ meta }) => meta);
      const total = parts.reduce((all, part) => all + Number(part.sum), 0);
      return { meta: { total, parts: parts.length, of: parts[0]!.of, spread: parts[0]!.spread } };
    },
  });

void t.test('requests that share the work and such that do not run side by side', async (t) => {
  const pipeline = await Harness.open(flow);
  t.teardown(() => pipeline.close());
  const run = async (n: number) => {
    const numbers = Array.from({ length: 12 }, (_, i) => i * n);
    const spread: Spread | undefined = ([undefined, 'route', 'shard'] as const)[n % 3];
    const options = spread === undefined ? {} : { spread: { part: spread } };
    const { outputs } = await within('a result', pipeline.gateway.run({ meta: { numbers } }, options));
    const isShard = spread === 'shard';
    return [
      outputs[0]!.meta,
      { total: 66 * n, parts: isShard ? 3 : 1, of: isShard ? 3 : 1, spread: isShard ? 'shard' : 'route' },
    ];
  };
  for (const [got, expected] of await Promise.all(Array.from({ length: 60 }, (_, n) => run(n)))) t.same(got, expected);
  await pipeline.idle();
});

void t.test('a request that asks for what there is not is refused', async (t) => {
  const pipeline = await Harness.open(flow);
  t.teardown(() => pipeline.close());
  const run = (spread: unknown) => pipeline.gateway.run({ meta: { numbers: [] } }, { spread } as never);
  t.match(await failureOf(run({ total: 'shard' })), { ...INVALID, message: /stage total is of spread route/ });
  t.match(await failureOf(run({ nobody: 'shard' })), INVALID);
  t.match(await failureOf(run('shard')), INVALID);
  t.equal(await codeOf(run({ part: 'shard' })), 'ok');
  t.throws(() => pipeline.gateway.check(0, { spread: { total: 'shard' } }), INVALID);
});
