// Proves what a change of plan waits for, and which pools have one plan.
import t from 'tap';
import { drainsOf, PlanDrain, plansOf } from '../../../src/ts/planner/fleet/plan-drain.js';
import { Worker } from '../../../src/ts/planner/fleet/worker.js';
import { randomOf } from '../../../src/ts/planner/random.js';
import { fleet, pool } from './workloads.js';

const node = { index: 0, factor: 1, workers: new Set<Worker>(), free: 8 };
const workerOf = () => new Worker(0, node, 0);

void t.test('a worker is given up when no request of an earlier plan is left, the earliest first', (t) => {
  const drain = new PlanDrain();
  const [a, b] = [workerOf(), workerOf()];
  const first = drain.begun();
  t.same(drain.change([a]), [], 'a request of the plan before is under way');
  const second = drain.begun();
  t.same(drain.change([b]), []);
  t.notOk(drain.isDrained);
  t.same(drain.ended(second), [], 'the first plan is not done');
  t.strictSame(drain.ended(first), [a, b]);
  t.ok(drain.isDrained);
  t.end();
});

void t.test('without requests a change frees its workers at once', async (t) => {
  const drain = new PlanDrain();
  const [a, b] = [workerOf(), workerOf()];
  t.ok(drain.isDrained);
  t.strictSame(drain.change([a, b]), [a, b]);
  t.ok(drain.isDrained);
  t.equal(drain.begun(), 1, 'requests begin under the new plan');
});

void t.test('requests of the present plan do not hold what left before it', async (t) => {
  const drain = new PlanDrain();
  const [a, b] = [workerOf(), workerOf()];
  const old = drain.begun();
  drain.change([a]);
  const present = drain.begun();
  t.strictSame(drain.ended(old), [a]);
  t.ok(drain.isDrained);
  t.same(drain.change([b]), [], 'but they hold what leaves after it');
  t.strictSame(drain.ended(present), [b]);
});

void t.test('a plan in which nobody leaves frees nobody, at any time', async (t) => {
  // Instances.ready() relies on it: it changes the plan and looks at no answer.
  for (let seed = 1; seed <= 20; seed++) {
    const draw = randomOf(seed);
    const drain = new PlanDrain();
    const running: number[] = [];
    for (let step = 0; step < 300; step++) {
      const u = draw();
      if (u < 0.4) running.push(drain.begun());
      else if (u < 0.75 && running.length > 0) {
        drain.ended(running.splice(Math.floor(draw() * running.length), 1)[0]!);
      } else if (u < 0.87) drain.change([workerOf()]);
      else if (drain.change([]).length > 0) t.fail(`seed ${seed}, step ${step}`);
    }
  }
  t.pass('none in 20 seeds');
});

void t.test('as the rule says, in any order of requests and changes', async (t) => {
  for (let seed = 1; seed <= 30; seed++) {
    const draw = randomOf(seed);
    const drain = new PlanDrain();
    const running: number[] = [];
    let plan = 0;
    let held: { readonly plan: number; readonly worker: Worker }[] = [];
    let wrong = 0;
    // Held are those for which a request of a plan before the one without them is under way.
    const free = () => {
      const isHeld = ({ plan }: { readonly plan: number }) => running.some((each) => each < plan);
      const expected = held.filter((each) => !isHeld(each)).map(({ worker }) => worker);
      held = held.filter(isHeld);
      return expected;
    };
    const check = (workers: readonly Worker[]) => {
      const expected = free();
      if (expected.length !== workers.length || expected.some((worker, i) => worker !== workers[i])) wrong++;
      if (drain.isDrained !== running.every((each) => each === plan)) wrong++;
    };
    for (let step = 0; step < 400; step++) {
      const u = draw();
      if (u < 0.45) {
        const begun = drain.begun();
        if (begun !== plan) wrong++;
        running.push(begun);
      } else if (u < 0.85) {
        if (running.length > 0) check(drain.ended(running.splice(Math.floor(draw() * running.length), 1)[0]!));
      } else {
        const workers = Array.from({ length: Math.floor(draw() * 3) }, workerOf);
        plan++;
        for (const worker of workers) held.push({ plan, worker });
        check(drain.change(workers));
      }
    }
    while (running.length > 0) check(drain.ended(running.pop()!));
    t.equal(wrong, 0, `seed ${seed}`);
    t.equal(held.length, 0, 'in the end all are free');
  }
});

void t.test('pools on the way of one request have one plan, also by way of others', async (t) => {
  const pools = [pool(), pool(), pool(), pool()];
  const whole = fleet(pools, 3);
  const [steps] = whole.routes;
  const take = (...indices: number[]) => indices.map((i) => steps![i]!);
  const plansWith = (...routes: number[][]) => plansOf({ ...whole, routes: routes.map((way) => take(...way)) });
  t.same(plansOf(whole), [0, 0, 0, 0]);
  t.same(plansWith([0], [1], [2, 3]), [0, 1, 2, 2]);
  t.same(plansWith([2, 3], [1, 2], [0]), [0, 1, 1, 1], 'by way of the third pool');
  t.same(plansWith([3, 2], [1, 0], [2, 1]), [0, 0, 0, 0], 'two groups become one');
});

void t.test('pools of one plan drain together', async (t) => {
  const whole = fleet([pool(), pool(), pool()]);
  const [steps] = whole.routes;
  const drains = drainsOf({ ...whole, routes: [[steps![0]!, steps![2]!], [steps![1]!]] });
  t.equal(drains.length, 3);
  t.equal(drains[0], drains[2]);
  t.not(drains[0], drains[1]);
});
