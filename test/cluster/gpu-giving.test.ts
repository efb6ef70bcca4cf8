// Proves that GPUs follow the load from workflow to workflow where there are too few, hold the SLO again within a
// stated time, stay where they are under a steady load, and that every decision can be made again.
import t from 'tap';
import { demandsOf } from '../../src/ts/cluster/gpu-demand.js';
import { gpuWords, limited, shortOf } from '../../src/ts/cluster/gpu-giving.js';
import { replayEvents } from '../../src/ts/cluster/replay-events.js';
import { randomOf } from '../../src/ts/planner/random.js';
import { NO_GPU_STATE } from '../../src/ts/planner/index.js';
import { GpuWorld } from './gpu-world.js';
import type { ScaleWorld } from './scale-world.js';

const SLO_MS = 3000;
const TASK_MS = 500;
const LOAD_MS = 5000;
const MINUTE = 60_000;
const scale = { min: 1, max: 8, sloMs: SLO_MS, quantile: 0.95 };
const app = (name: string) => ({ name, scale, loadMs: LOAD_MS, taskMs: TASK_MS });

// Gaps of a Poisson process, relative to their mean.
const chance = (seed: number) => {
  const draw = randomOf(seed);
  return () => -Math.log(1 - draw());
};

function partInTime({ latencies }: ScaleWorld, fromMs: number, untilMs: number): number {
  const own = latencies.filter(({ cameMs }) => cameMs >= fromMs && cameMs < untilMs);
  return own.filter(({ ms }) => ms <= SLO_MS).length / own.length;
}

function replayed({ events }: GpuWorld) {
  return replayEvents(
    events.map((inputs, i) => ({
      ...{ sequence: i + 1, atMs: 0, term: 1, app: '', type: 'gpus', words: '' },
      inputs: JSON.parse(JSON.stringify(inputs)),
    })),
  );
}

void t.test('two workflows on 4 GPUs, and their load swaps: the GPUs follow, and the SLO holds again', (t) => {
  const world = new GpuWorld({ gpus: 4, apps: [app('one'), app('two')] });
  const [one, two] = world.worlds as [ScaleWorld, ScaleWorld];
  const high = (seed: number) => ({ rate: 4.4, draw: chance(seed) });
  const low = (seed: number) => ({ rate: 0.2, draw: chance(seed) });
  world.run(10 * MINUTE, [high(1), low(2)]);
  t.ok(one.count === 3 && two.count === 1, `${world.counts} instances for a high and a low load`);
  t.ok(partInTime(one, 8 * MINUTE, 10 * MINUTE) >= 0.95);
  const swapMs = world.nowMs;
  let followedMs = 0;
  world.run(10 * MINUTE, [low(3), high(4)], () => {
    if (followedMs === 0 && two.count === 3) followedMs = world.nowMs - swapMs;
  });
  t.strictSame(world.counts, [1, 3]);
  t.ok(followedMs > 0 && followedMs <= 90_000, `the plan has them after ${followedMs} ms`);
  const held = partInTime(two, swapMs + 2 * MINUTE, world.nowMs);
  t.ok(held >= 0.95, `${held} in time from two minutes after the swap on`);
  t.ok(partInTime(one, swapMs, world.nowMs) >= 0.95, 'and who gave is in time all the while');
  t.equal(one.cut + two.cut, 0, 'no place has ended under a task');
  const moves = world.events.flatMap(({ decision }) => decision.moves);
  t.ok(moves.length >= 1, JSON.stringify(moves));
  t.ok(moves.every(({ reason }) => reason === 'gain' || reason === 'share'));
  t.strictSame(replayed(world), { decisions: world.events.length, differing: [] });
  const told = world.events.find(({ decision }) => decision.moves.some(({ reason }) => reason === 'gain'))!;
  t.match(gpuWords(told), /one\/work gives \d for two\/work: \d+\.\d % more of its tasks in time, \d\.\d % fewer/);
  const altered = JSON.parse(JSON.stringify({ ...told, demand: { ...told.demand, gpus: 1 } }));
  const event = { sequence: 7, atMs: 0, term: 1, app: '', type: 'gpus', words: '', inputs: altered };
  t.match(replayEvents([event]).differing, [{ sequence: 7, words: /^was .*two\/work \d.*by \d moves, is / }]);
  t.throws(() => replayEvents([{ ...event, inputs: null }]), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  t.end();
});

void t.test('both are overloaded: they stay with their halves in an hour of steady load', (t) => {
  for (const seed of [1, 2, 3]) {
    const world = new GpuWorld({ gpus: 4, apps: [app('one'), app('two')] });
    world.run(5 * MINUTE, [
      { rate: 8, draw: chance(seed) },
      { rate: 8, draw: chance(seed + 10) },
    ]);
    const before = world.events.flatMap(({ decision }) => decision.moves).length;
    world.run(60 * MINUTE, [
      { rate: 8, draw: chance(seed + 20) },
      { rate: 8, draw: chance(seed + 30) },
    ]);
    t.strictSame(world.counts, [2, 2], `seed ${seed}`);
    const moves = world.events.flatMap(({ decision }) => decision.moves).length - before;
    t.ok(moves <= 1, `seed ${seed}: ${moves} moves in an hour`);
    t.match(shortOf(world.worlds[0]!.known.app, world.state), [/^stage work may have 2 of the \d instances/]);
  }
  t.end();
});

void t.test('three workflows near the limit move at most once a pair in a steady hour', (t) => {
  for (const seed of [1, 2, 3]) {
    const world = new GpuWorld({ gpus: 6, apps: [app('one'), app('two'), app('three')] });
    const rates = [4, 3, 2.5];
    const loads = (more: number) => rates.map((rate, i) => ({ rate, draw: chance(seed + 10 * i + more) }));
    world.run(10 * MINUTE, loads(0));
    const before = world.events.length;
    world.run(60 * MINUTE, loads(100));
    const pairs = new Map<string, number>();
    for (const { decision } of world.events.slice(before)) {
      const names = decision.moves.flatMap(({ to, givers }) => givers.map(({ stage }) => [stage, to].sort().join()));
      for (const pair of new Set(names)) pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
    }
    t.ok(
      [...pairs.values()].every((n) => n <= 1),
      `seed ${seed}: ${JSON.stringify([...pairs])}`,
    );
    t.ok(world.counts.every((n) => n >= 1));
  }
  t.end();
});

void t.test('a GPU is lost and comes back; a stage that is well with less wants no more', (t) => {
  const world = new GpuWorld({ gpus: 4, apps: [app('one'), app('two')] });
  const loads = [
    { rate: 8, draw: chance(5) },
    { rate: 8, draw: chance(6) },
  ];
  world.run(10 * MINUTE, loads);
  t.strictSame(world.counts, [2, 2]);
  world.gpus = 3;
  world.run(2 * MINUTE, loads);
  t.equal(world.counts[0]! + world.counts[1]!, 3);
  t.ok(world.events.some(({ decision }) => decision.moves.some(({ reason }) => reason === 'lost')));
  world.gpus = 4;
  world.run(2 * MINUTE, loads);
  t.strictSame(world.counts, [2, 2]);
  const wants = () => world.worlds.map(({ known }) => known.app.wanted.work!);
  t.ok(
    wants().every((n) => n > 2),
    `${wants()} wanted`,
  );
  world.run(40 * MINUTE, [{ rate: 1, draw: chance(7) }, loads[1]!]); // what has gathered is done, too
  t.ok(wants()[0]! <= 2, `${wants()} wanted when less comes`);
  t.ok(world.counts[1]! >= 2);
  t.strictSame(replayed(world), { decisions: world.events.length, differing: [] });
  t.end();
});

void t.test('without it, what each wants decides, as before', (t) => {
  const world = new GpuWorld({ gpus: 4, policy: false, apps: [app('one'), app('two')] });
  world.run(5 * MINUTE, [{ rate: 8 }, { rate: 8 }]);
  t.strictSame(world.counts, [2, 2]);
  t.strictSame(world.events, []);
  t.end();
});

void t.test('only stages that may use a node together are divided together', (t) => {
  const world = new GpuWorld({ gpus: 4, apps: [app('one'), app('two')] });
  const known = world.worlds.map((each) => each.known);
  const gpus = [{ memoryBytes: 2 ** 30 }];
  const nodes = ['a', 'b'].map((name) => ({ name, host: name, cores: 8, memoryBytes: 2 ** 33, gpus, run: 'r' }));
  const scaledOf = () => ({ memory: undefined, queued: 0 });
  const labelled = known.map((each, i) => {
    const resources = { ...each.app.spec.stages[0]!.resources!, labels: { of: String(i) } };
    return { ...each, app: { ...each.app, spec: { stages: [{ ...each.app.spec.stages[0]!, resources }] } as never } };
  });
  const apart = nodes.map((node, i) => ({ ...node, labels: { of: String(i) } }));
  const of = (apps: typeof known, list: typeof nodes) => demandsOf({ apps, nodes: list, scaledOf }, NO_GPU_STATE, 1000);
  t.match(of(known, nodes), [{ gpus: 2, stages: [{ stage: 'one/work' }, { stage: 'two/work' }] }]);
  t.match(of(labelled, apart), [
    { gpus: 1, stages: [{ stage: 'one/work', has: 0, gpus: 1 }] },
    { gpus: 1, stages: [{ stage: 'two/work' }] },
  ]);
  t.strictSame(of(labelled, nodes), [], 'nobody can use them');
  t.strictSame(
    of(
      known,
      nodes.map((node) => ({ ...node, draining: true })),
    ),
    [],
  );
  const fixed = known.map((each) => ({ ...each, app: { ...each.app, fixed: ['work'] } }));
  t.strictSame(of(fixed, nodes), [], 'operators count, and nothing is divided');
  t.match(of([known[0]!, fixed[1]!], nodes), [{ stages: [{ load: { sloMs: SLO_MS } }, { load: null }] }]);
  const parts = known.map((each) => {
    const resources = { ...each.app.spec.stages[0]!.resources!, gpuMemoryBytes: 2 ** 28 };
    return { ...each, app: { ...each.app, spec: { stages: [{ ...each.app.spec.stages[0]!, resources }] } as never } };
  });
  t.match(of(parts, nodes), [{ gpus: 2, stages: [{ gpus: 0.25 }, { gpus: 0.25 }] }]);
  t.equal(limited(fixed[0]!.app, NO_GPU_STATE), fixed[0]!.app);
  t.end();
});
