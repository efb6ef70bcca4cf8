// Proves how many requests are on their way to an instance: the arithmetic by table, and over random histories that no
// window is ever exceeded, that the least loaded instance is chosen, and that the books are even at the end.
import fc from 'fast-check';
import t from 'tap';
import { RdmaError } from '../../src/ts/core/errors.js';
import { Admission, type AdmittedRequest, MAX_PREFETCH, windowOf } from '../../src/ts/pipeline/admission.js';
import { makePlan, type Plan } from '../../src/ts/pipeline/plan.js';
import { ALL, graphOf, placesOf } from '../../src/ts/pipeline/routing.js';
import { checkSpec, type StageSpecInput } from '../../src/ts/pipeline/spec.js';
import { examples } from './graphs.js';

const MINUTE_US = 60e6;

void t.test('a window is what runs and a prefetch that covers the way there', async (t) => {
  const table: [number, number, number, number][] = [
    // capacity, service, lead, window
    [1, MINUTE_US, 200, 1],
    [1, 20_000, 200, 1],
    [1, 19_999, 200, 2],
    [1, 200, 200, 2],
    [1, 100, 200, 3],
    [1, 10, 200, 21],
    [4, 100, 200, 12],
    [4, MINUTE_US, 200, 4],
    [1, 1, 200, 1 + MAX_PREFETCH],
    [1, 0, 200, 1 + MAX_PREFETCH],
    [64, 1, 1e9, 64 + MAX_PREFETCH],
    [1, 50, 0, 1],
  ];
  for (const [concurrency, serviceUs, leadUs, window] of table) {
    t.equal(windowOf(concurrency, serviceUs, leadUs), window, `${concurrency}, ${serviceUs} us, ${leadUs} us`);
  }
});

void t.test('an instance that takes batches is given a whole next batch at least', async (t) => {
  t.equal(windowOf(8, MINUTE_US, 200, 8), 16);
  t.equal(windowOf(16, 1000, 200, 8), 24);
  t.equal(windowOf(8, 100, 200, 8), 24);
  t.equal(windowOf(8, 1, 200, 8), 8 + MAX_PREFETCH);
  const admission = admissionOf([{ name: 'a', concurrency: 2, batch: { size: 4 } }]);
  for (let i = 0; i < 12; i++) t.ok(admission.admit(0), 'before the first sample too');
  t.notOk(admission.admit(0));
  t.equal(admission.capacity(0, 0).servers, 8);
});

const specOf = (...stages: StageSpecInput[]) => checkSpec({ name: 'flow', stages });
function admissionOf(stages: StageSpecInput[], residentLimit = 256, instances?: number[][]) {
  const spec = specOf(...stages);
  return new Admission(graphOf(spec), makePlan(spec, 1, instances), residentLimit);
}

void t.test('before the first sample an instance is given one task more than it runs', async (t) => {
  const admission = admissionOf([{ name: 'a', concurrency: 3 }]);
  for (let i = 0; i < 4; i++) t.ok(admission.admit(0));
  t.equal(admission.admit(0), undefined);
});

void t.test('requests go where the least work is unfinished', async (t) => {
  const admission = admissionOf([{ name: 'a', concurrency: 2 }], 256, [[4, 9]]);
  const [first, second, third] = [0, 0, 0].map(() => admission.admit(0)!);
  t.same(
    [first, second, third].map((request) => request!.route[0]),
    [4, 9, 4],
  );
  admission.done(first!, { stage: 0, instance: 4 }, 0, 100, 100);
  admission.done(third!, { stage: 0, instance: 4 }, 0, 100, 100);
  t.equal(admission.admit(100)!.route[0], 4, 'it has none left');
});

void t.test('of two with as much unfinished work, the one with fewer residents is chosen', async (t) => {
  const admission = admissionOf([{ name: 'a', concurrency: 2 }], 256, [[0, 1]]);
  const first = admission.admit(0)!;
  admission.done(first, { stage: 0, instance: 0 }, 0, 1, 1);
  t.equal(admission.admit(1)!.route[0], 1);
});

void t.test('an instance that is stalled gets nothing while another is not', async (t) => {
  const admission = admissionOf([{ name: 'a' }], 256, [[0, 1]]);
  const run = (nowUs: number) => {
    const request = admission.admit(nowUs)!;
    admission.done(request, { stage: 0, instance: request.route[0]! }, 0, 10, nowUs + 210);
    admission.ended(request);
  };
  for (let i = 0; i < 30; i++) run(i * 1000);
  const stuck = admission.admit(40_000)!;
  // A task takes 10 us and the way 200: much later nothing has come of it.
  const next = Array.from({ length: admission.windowOf(0) }, () => admission.admit(50_000)!.route[0]);
  t.ok(next.length > 5 && next.every((instance) => instance !== stuck.route[0]));
  t.equal(admission.admit(50_000), undefined, 'it waits, rather than behind the stalled one');
  admission.done(stuck, { stage: 0, instance: stuck.route[0]! }, 0, 10, 50_100);
  t.equal(admission.admit(50_100)!.route[0], stuck.route[0]);
});

void t.test('an instance that has no other beside it is never stalled', async (t) => {
  const admission = admissionOf([{ name: 'a' }]);
  const first = admission.admit(0)!;
  admission.done(first, { stage: 0, instance: 0 }, 0, 10, 210);
  admission.ended(first);
  for (let i = 0; i < admission.windowOf(0); i++) t.ok(admission.admit(1000 + i * 1e6));
  t.equal(admission.admit(1e9), undefined);
});

void t.test('an instance without room does not keep a request from another one', async (t) => {
  const admission = admissionOf([{ name: 'a', concurrency: 4 }], 2, [[0, 1]]);
  const [first, second, third] = [0, 1, 2, 3].map((now) => admission.admit(now)!);
  // 0 has no unfinished work, but as many residents as it may have.
  for (const request of [first!, third!]) admission.done(request, { stage: 0, instance: 0 }, 0, 1, 4);
  t.equal(admission.admit(5), undefined);
  admission.ended(second!);
  t.equal(admission.admit(5)!.route[0], 1);
});

void t.test('a sharded stage takes a request only when all its instances have room', async (t) => {
  const admission = admissionOf([{ name: 'a', spread: 'shard', instances: 2 }]);
  const [first, second] = [admission.admit(0)!, admission.admit(0)!];
  t.equal(first.route[0], ALL);
  admission.done(first, { stage: 0, instance: 0 }, 0, MINUTE_US, MINUTE_US);
  t.equal(admission.admit(0), undefined, 'the other one is not done');
  admission.done(first, { stage: 0, instance: 1 }, 0, MINUTE_US, MINUTE_US);
  t.ok(admission.admit(0));
  t.equal(admission.admit(0), undefined);
  admission.ended(second);
  t.ok(admission.admit(0));
});

void t.test('residents are bounded though their tasks are done', async (t) => {
  const admission = admissionOf([{ name: 'a' }], 3);
  const requests = [0, 1, 2].map((now) => {
    const request = admission.admit(now)!;
    admission.done(request, { stage: 0, instance: 0 }, 0, 1, now);
    return request;
  });
  t.equal(admission.admit(9), undefined);
  admission.ended(requests[0]!);
  t.ok(admission.admit(9));
  t.equal(admission.admit(9), undefined);
});

void t.test('measured tasks move the window: short ones widen it, long ones narrow it again', async (t) => {
  const admission = admissionOf([{ name: 'a' }]);
  const run = (computeUs: number) => {
    const request = admission.admit(0)!;
    admission.done(request, { stage: 0, instance: 0 }, 5, computeUs, 5 + computeUs + 200);
    admission.ended(request);
  };
  for (let i = 0; i < 30; i++) run(10);
  t.equal(admission.windowOf(0), 21);
  for (let i = 0; i < 30; i++) run(1e6);
  t.equal(admission.windowOf(0), 1);
});

void t.test('a stage behind a long one is not flooded, and one behind a short one is kept busy', async (t) => {
  const stages = [{ name: 'a' }, { name: 'b', after: ['a'] }, { name: 'c', after: ['b'] }];
  const admission = admissionOf(stages);
  const costs = [1000, 100, 10];
  for (let i = 0; i < 50; i++) {
    const request = admission.admit(0)!;
    costs.forEach((computeUs, stage) => {
      admission.done(request, { stage, instance: 0 }, 0, computeUs, computeUs + 200);
    });
    admission.ended(request);
  }
  // The way to b takes 200 us and leads through a, 1000 us; that to c leads through b as well.
  t.same(
    [0, 1, 2].map((stage) => admission.windowOf(stage)),
    [2, 1 + 12, 1 + MAX_PREFETCH],
  );
});

void t.test('before the first sample the stages behind do not bound what the first can run', async (t) => {
  const stages = [
    { name: 'a', concurrency: 4, instances: 2 },
    { name: 'b', after: ['a'] },
    { name: 'c', after: ['b', 'a'] },
  ];
  const admission = admissionOf(stages);
  let admitted = 0;
  while (admission.admit(0) !== undefined && admitted < 100) admitted++;
  t.equal(admitted, 2 * (4 + 1), 'what both instances run, and a task more for each');
});

void t.test('requests that take long in one stage hold up nobody behind it', async (t) => {
  const admission = admissionOf([
    { name: 'a', concurrency: 64 },
    { name: 'b', after: ['a'] },
  ]);
  const done = (request: AdmittedRequest, stage: number) => {
    admission.done(request, { stage, instance: 0 }, 0, 1000, 1000);
  };
  for (let i = 0; i < 20; i++) {
    const request = admission.admit(0)!;
    done(request, 0);
    done(request, 1);
    admission.ended(request);
  }
  const slow = Array.from({ length: 60 }, () => admission.admit(0));
  t.ok(slow.every((request) => request !== undefined));
  for (let i = 0; i < 100; i++) {
    const request = admission.admit(0);
    if (request === undefined) {
      t.fail(`request ${i} waits for those that take long`);
      return;
    }
    done(request, 0);
    done(request, 1);
    admission.ended(request);
  }
  // But what has arrived at b, and waits there, bounds what is admitted.
  for (const request of slow.slice(0, 30)) done(request!, 0);
  t.equal(admission.admit(0), undefined);
});

void t.test('reports may come in any order', async (t) => {
  const admission = admissionOf([{ name: 'a' }, { name: 'b', after: ['a'] }]);
  const request = admission.admit(0)!;
  admission.done(request, { stage: 1, instance: 0 }, 0, 10, 10);
  admission.done(request, { stage: 0, instance: 0 }, 0, 10, 10);
  t.match(admission.status(), [
    { unfinished: 0, arrived: 0, resident: 1 },
    { unfinished: 0, arrived: 0, resident: 1 },
  ]);
  admission.ended(request);
  t.match(admission.status(), [{ resident: 0 }, { resident: 0 }]);
});

void t.test('a place that reports twice, or does not work for the request, changes nothing', async (t) => {
  const admission = admissionOf([{ name: 'a' }], 256, [[0, 1]]);
  const request = admission.admit(0)!;
  for (let i = 0; i < 3; i++) admission.done(request, { stage: 0, instance: 0 }, 0, 10, 10);
  admission.done(request, { stage: 0, instance: 1 }, 0, 10, 10);
  t.match(admission.status(), [
    { instance: 0, unfinished: 0, resident: 1 },
    { instance: 1, unfinished: 0, resident: 0 },
  ]);
});

void t.test('a newer plan admits to its instances, and the older ones run dry', async (t) => {
  const spec = specOf({ name: 'a' });
  const admission = new Admission(graphOf(spec), makePlan(spec, 1, [[0]]), 256);
  const old = admission.admit(0)!;
  admission.adopt(makePlan(spec, 2, [[1, 2]]));
  const next = admission.admit(0)!;
  t.same([old.plan.number, old.route[0], next.plan.number, next.route[0]], [1, 0, 2, 1]);
  admission.ended(old);
  admission.adopt(makePlan(spec, 3, [[1]]));
  t.same(
    admission.status().map(({ instance, resident }) => [instance, resident]),
    [[1, 1]],
    'those of older plans are forgotten when nothing of theirs is left',
  );
});

type Step = { what: 'admit' | 'done' | 'end' | 'adopt'; pick: number; us: number };
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    what: fc.constantFrom('admit', 'admit', 'admit', 'done', 'done', 'end', 'adopt'),
    pick: fc.nat(),
    us: fc.integer({ min: 0, max: 5000 }),
  }) as fc.Arbitrary<Step>,
  { minLength: 20, maxLength: 120, size: 'max' },
);

void t.test('over any history windows and residents stay in bounds, and the books are even at the end', async (t) => {
  let admitted = 0;
  let refused = 0;
  const property = fc.property(examples, fc.integer({ min: 1, max: 12 }), steps, (example, limit, history) => {
    const { graph, spec } = example;
    let plan: Plan = example.plan;
    const admission = new Admission(graph, plan, limit);
    const under: AdmittedRequest[] = [];
    let nowUs = 0;
    for (const { what, pick, us } of history) {
      nowUs += us;
      const request = under[pick % Math.max(1, under.length)];
      if (what === 'admit') {
        const limits = spec.stages.map((_, stage) => admission.limitOf(stage));
        const before = new Map(admission.status().map((load) => [`${load.stage}/${load.instance}`, load]));
        const next = admission.admit(nowUs);
        if (next === undefined) refused++;
        else {
          admitted++;
          under.push(next);
          next.route.forEach((_, stage) => {
            for (const instance of placesOf(next.plan, next.route, stage)) {
              const load = before.get(`${stage}/${instance}`)!;
              if (!plan.instances[stage]!.includes(instance)) throw new Error('not of the newest plan');
              if (load.arrived >= load.window) throw new Error('the window is exceeded');
              if (load.unfinished >= limits[stage]!) throw new Error('more than there is room for');
              if (load.resident >= limit) throw new Error('too many residents');
              if (next.route[stage] === ALL) continue;
              const { concurrency } = spec.stages[stage]!;
              for (const n of plan.instances[stage]!) {
                const other = before.get(`${stage}/${n}`)!;
                const isBusy =
                  other.arrived >= concurrency || other.unfinished >= limits[stage]! || other.resident >= limit;
                if (!isBusy && other.unfinished < load.unfinished) throw new Error('not the least loaded');
              }
            }
          });
        }
      } else if (what === 'done' && request !== undefined) {
        const stage = pick % spec.stages.length;
        const [instance] = placesOf(request.plan, request.route, stage);
        admission.done(request, { stage, instance: instance! }, us / 4, us / 2, nowUs);
      } else if (what === 'end' && request !== undefined) {
        admission.ended(request);
        under.splice(under.indexOf(request), 1);
      } else if (what === 'adopt') {
        const lists = plan.instances.map((list, i) =>
          i === pick % plan.instances.length ? [...list, 50 + (us % 3)] : list,
        );
        const wanted = lists.map((list) => [...new Set(list)].slice(-4));
        plan = makePlan(spec, plan.number + 1, wanted, plan.gateways);
        admission.adopt(plan);
      }
      for (const { arrived, unfinished, resident } of admission.status()) {
        if (arrived < 0 || unfinished < arrived || resident < unfinished) {
          throw new Error(`${arrived} arrived of ${unfinished} unfinished of ${resident}`);
        }
      }
    }
    for (const request of under) admission.ended(request);
    for (const { arrived, unfinished, resident } of admission.status()) {
      if (arrived !== 0 || unfinished !== 0 || resident !== 0) throw new Error('the books are not even');
    }
  });
  fc.assert(property, { seed: 61, numRuns: 400 });
  t.ok(admitted > 1000 && refused > 100, `${admitted} admitted, ${refused} not`);
});

void t.test('a stage without instances admits nothing, and says when it will have one', async (t) => {
  const stages = [{ name: 'a' }, { name: 'b', scale: { min: 0, sloMs: 100, loadMs: 4000 } }];
  const admission = admissionOf(stages, 256, [[0], []]);
  t.equal(admission.admit(0), undefined);
  t.same(admission.asleep(0), { stage: 1, readyInUs: 4e6 }, 'as its author says');
  admission.setSleep(1, { state: 'asleep', startMs: 9000 }, 0);
  t.same(admission.asleep(50e6), { stage: 1, readyInUs: 9e6 }, 'asleep it gets no nearer');
  t.same(admission.capacity(1, 50e6), { servers: 0, startingUs: [9e6] });
  admission.setSleep(1, { state: 'starting', readyInMs: 9000 }, 50e6);
  t.same(admission.asleep(52e6), { stage: 1, readyInUs: 7e6 });
  t.equal(admission.status().length, 1, 'the stand-in for its instances is no instance');
  const reason = new RdmaError('RDMA_ERR_STAGE_FAILED', 'it ends at once');
  admission.setSleep(1, { state: 'broken', reason, retryInMs: 300 }, 0);
  t.match(admission.broken, { stage: 1, retryInMs: 300 });
  t.equal(admission.asleep(0), undefined);
  admission.adopt(makePlan(specOf(...stages), 2, [[0], [3]]));
  t.equal(admission.broken, undefined);
  t.same([...admission.admit(0)!.route], [0, 3]);
});
