// Proves what a cost model answers: warm samples before hints, hints before cold samples, and nothing where nothing is
// known; that classes are told apart by units, and that there is a bound on them.
import fc from 'fast-check';
import t from 'tap';
import { CostModel, Estimate, MAX_CLASSES, NO_CLASS } from '../../src/ts/pipeline/cost-model.js';
import { checkSpec, type StageSpecInput } from '../../src/ts/pipeline/spec.js';

const modelOf = (...stages: StageSpecInput[]) => new CostModel(checkSpec({ name: 'costs', stages }).stages);

void t.test('an estimate is the mean at first, and then follows what comes', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 20 }), (values) => {
      const estimate = new Estimate();
      for (const value of values) estimate.add(value);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
      return Math.abs(estimate.mean - mean) < 1e-3 && Math.abs(estimate.spread - Math.sqrt(variance)) < 1;
    }),
  );
  const moving = new Estimate();
  for (let i = 0; i < 1000; i++) moving.add(100);
  for (let i = 0; i < 200; i++) moving.add(300);
  t.ok(Math.abs(moving.mean - 300) < 1, `${moving.mean}`);
  t.ok(moving.spread < 20, `${moving.spread}`);
});

void t.test('nothing is known before anything was said or measured', async (t) => {
  const costs = modelOf({ name: 'a' });
  t.ok(Number.isNaN(costs.unitUs(0, NO_CLASS)));
  t.ok(Number.isNaN(costs.unitUs(0, costs.classOf('video', 4))));
  t.same(costs.status(), []);
});

void t.test('what the author expects counts until the first warm task', async (t) => {
  const costs = modelOf({ name: 'a', cost: { computeMs: 8, unitMs: { video: 2 } } });
  const video = costs.classOf('video', 5);
  t.equal(costs.unitUs(0, NO_CLASS), 8000);
  t.equal(costs.unitUs(0, video), 2000);
  costs.done(0, NO_CLASS, 1, 90_000, true);
  t.equal(costs.unitUs(0, NO_CLASS), 8000, 'the first task of a process is no measurement');
  t.equal(costs.coldUs(0), 90_000);
  costs.done(0, NO_CLASS, 1, 5000, false);
  t.equal(costs.unitUs(0, NO_CLASS), 5000);
  t.equal(costs.unitUs(0, video), 2000, 'of another class');
});

void t.test('the first tasks of processes are used where nothing else is known', async (t) => {
  const costs = modelOf({ name: 'a' });
  costs.done(0, NO_CLASS, 1, 90_000, true);
  t.equal(costs.unitUs(0, NO_CLASS), 90_000);
});

void t.test('a class costs by its units, and one that is unknown as much as the others', async (t) => {
  const costs = modelOf({ name: 'a' }, { name: 'b', after: ['a'] });
  const video = costs.classOf('video', 10);
  for (let i = 0; i < 5; i++) costs.done(0, video, 10, 1000, false);
  costs.done(0, video, 20, 2000, false);
  t.equal(costs.unitUs(0, video), 100);
  const image = costs.classOf('image', 4);
  t.ok(Math.abs(4 * costs.unitUs(0, image) - 1050) < 150, 'a task of the stage');
  t.ok(Number.isNaN(costs.unitUs(1, video)), 'at another stage nothing is known');
  t.same(costs.status(), [{ stage: 'a', class: 'video', samples: 6, meanUs: 100, spreadUs: 0 }]);
});

void t.test('there is a bound on classes: what comes after them shares the last one', async (t) => {
  const costs = modelOf({ name: 'a' });
  const seen = new Set<number>();
  for (let i = 0; i < 1000; i++) seen.add(costs.classOf(`class-${i}`, 1));
  t.equal(costs.classCount, MAX_CLASSES);
  t.ok([...seen].every((index) => index > NO_CLASS && index < MAX_CLASSES));
  t.equal(costs.classOf('class-3', 1), costs.classOf('class-3', 1));
});
