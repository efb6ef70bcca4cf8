// Proves: a plan counts from the moment when its places are connected, unless it was retired meanwhile; the newest one
// is never let go.
import t from 'tap';
import { PlacePlans } from '../../src/ts/pipeline/place-plans.js';
import type { Plan } from '../../src/ts/pipeline/plan.js';
import { graphOf } from '../../src/ts/pipeline/routing.js';
import { checkSpec, REQUEST } from '../../src/ts/pipeline/spec.js';

const spec = checkSpec({
  name: 'plans',
  stages: [
    { name: 'a', after: [REQUEST] },
    { name: 'b', after: ['a'] },
  ],
});
const graph = graphOf(spec);
const plan = (number: number, instances: number[]): Plan => ({
  number,
  gateways: [0],
  instances: [[0], instances],
});
const make = (older: Plan[] = []) => new PlacePlans(graph, { stage: 0, instance: 0 }, plan(5, [0]), older);
const sorted = (plans: PlacePlans) => [...plans.targets()].sort();

void t.test('targets are those of all plans, and of one that is being connected to', async (t) => {
  const plans = make([plan(4, [1])]);
  t.same(plans.numbers, [4, 5]);
  t.same(sorted(plans), ['b/0', 'b/1', 'gateway/0']);
  let connected: () => void = () => {};
  const adopting = plans.adopt(
    plan(6, [2]),
    () =>
      new Promise((resolve) => {
        connected = resolve;
      }),
  );
  t.ok(plans.targets().has('b/2'));
  t.notOk(plans.has(6), 'its places are not connected');
  t.equal(plans.newest.number, 5);
  connected();
  t.equal(await adopting, true);
  t.same(plans.numbers, [4, 5, 6]);
  t.equal(plans.newest.number, 6);
  t.same(plans.get(6)?.instances[1], [2]);
});

void t.test('an older plan that comes late is not the newest', async (t) => {
  const plans = make();
  t.equal(await plans.adopt(plan(4, [1]), () => Promise.resolve()), true);
  t.equal(plans.newest.number, 5);
  t.ok(plans.has(4));
});

void t.test('a plan that is retired while it is being connected to does not count', async (t) => {
  const plans = make();
  let connected: () => void = () => {};
  const adopting = plans.adopt(
    plan(6, [2]),
    () =>
      new Promise((resolve) => {
        connected = resolve;
      }),
  );
  t.equal(plans.retire(6), true);
  t.notOk(plans.targets().has('b/2'));
  connected();
  t.equal(await adopting, false);
  t.same(plans.numbers, [5]);
});

void t.test('a plan whose places cannot be connected leaves nothing behind', async (t) => {
  const plans = make();
  await t.rejects(
    plans.adopt(plan(6, [2]), () => Promise.reject(new Error('no way'))),
    { message: 'no way' },
  );
  t.same(plans.numbers, [5]);
  t.notOk(plans.targets().has('b/2'));
});

void t.test('the newest plan stays, and what is not there cannot be let go', (t) => {
  const plans = make([plan(4, [1])]);
  t.equal(plans.retire(5), false);
  t.equal(plans.retire(9), false);
  t.equal(plans.retire(4), true);
  t.equal(plans.retire(4), false);
  t.same(plans.numbers, [5]);
  t.end();
});
