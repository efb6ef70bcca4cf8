// Proves that a plan is numbered, ascending, frozen and the same after JSON, and that anything else is refused.
import t from 'tap';
import {
  checkPlan,
  GATEWAY_INDEX,
  makePlan,
  MAX_GATEWAYS,
  MAX_INSTANCE_NUMBER,
  placeName,
  stageIndex,
  stagePlaces,
} from '../../src/ts/pipeline/plan.js';
import { checkSpec } from '../../src/ts/pipeline/spec.js';

const INVALID = { code: 'RDMA_ERR_INVALID_ARGUMENT' };
const spec = checkSpec({ name: 'flow', stages: [{ name: 'a', instances: 3 }, { name: 'b' }] });

void t.test('the first plan has the instances that the spec says, and one gateway', async (t) => {
  const plan = makePlan(spec, 1);
  t.same(plan, { number: 1, instances: [[0, 1, 2], [0]], gateways: [0] });
  for (const part of [plan, plan.instances, plan.instances[0], plan.gateways]) t.ok(Object.isFrozen(part));
  t.same(checkPlan(spec, JSON.parse(JSON.stringify(plan))), plan);
  t.same(stagePlaces(plan), [
    { stage: 0, instance: 0 },
    { stage: 0, instance: 1 },
    { stage: 0, instance: 2 },
    { stage: 1, instance: 0 },
  ]);
});

void t.test('instances may have any numbers, and are put in order', async (t) => {
  const lists = [[MAX_INSTANCE_NUMBER, 7, 0], [5]];
  const plan = makePlan(spec, 0xffffffff, lists, [9, 2]);
  t.same(plan, { number: 0xffffffff, instances: [[0, 7, MAX_INSTANCE_NUMBER], [5]], gateways: [2, 9] });
  t.same(lists[0], [MAX_INSTANCE_NUMBER, 7, 0], 'the list of the caller is left alone');
});

void t.test('only a stage that may sleep has no instance', async (t) => {
  const sleeper = checkSpec({ name: 'flow', stages: [{ name: 'a' }, { name: 'b', scale: { min: 0, sloMs: 5 } }] });
  const plan = makePlan(sleeper, 1, [[0], []]);
  t.same(plan.instances, [[0], []]);
  t.same(checkPlan(sleeper, JSON.parse(JSON.stringify(plan))), plan);
  t.same(stagePlaces(plan), [{ stage: 0, instance: 0 }]);
  t.throws(() => makePlan(sleeper, 1, [[], [0]]), INVALID);
});

void t.test('what is no plan is refused', async (t) => {
  const wrong: [number, unknown, unknown?][] = [
    [0, [[0], [0]]],
    [2 ** 32, [[0], [0]]],
    [1.5, [[0], [0]]],
    [1, [[0]]],
    [1, [[0], [0], [0]]],
    [1, [[0], []]],
    [1, [[0], 'x']],
    [1, [[0, 0], [0]]],
    [1, [[-1], [0]]],
    [1, [[MAX_INSTANCE_NUMBER + 1], [0]]],
    [1, [['0'], [0]]],
    [1, [Array.from({ length: 65 }, (_, i) => i), [0]]],
    [1, [[0], [0]], []],
    [1, [[0], [0]], [0, 0]],
    [1, [[0], [0]], Array.from({ length: MAX_GATEWAYS + 1 }, (_, i) => i)],
  ];
  for (const [number, instances, gateways] of wrong) {
    t.throws(
      () => makePlan(spec, number, instances as number[][], gateways as number[] | undefined),
      INVALID,
      JSON.stringify([number, instances, gateways]),
    );
  }
  const documents = [undefined, null, 5, [], {}, { number: 1 }, { number: 1, instances: [[0], [0]] }];
  for (const document of documents) t.throws(() => checkPlan(spec, document), INVALID, JSON.stringify(document));
});

void t.test('places have names', async (t) => {
  t.equal(placeName(spec, { stage: 1, instance: 4 }), 'b/4');
  t.equal(placeName(spec, { stage: GATEWAY_INDEX, instance: 2 }), 'gateway/2');
  t.same(
    ['a', 'b', 'request', 'gateway'].map((name) => stageIndex(spec, name)),
    [0, 1, GATEWAY_INDEX, GATEWAY_INDEX],
  );
  t.throws(() => stageIndex(spec, 'c'), INVALID);
});
