// Proves that stages follow their load: from reports to decisions to plans, in virtual time.
import t from 'tap';
import { replayEvents } from '../../src/ts/cluster/replay-events.js';
import { feed, NO_FEED, scaledStages, wantedOf } from '../../src/ts/cluster/scale-feed.js';
import { randomOf } from '../../src/ts/planner/random.js';
import { ScaleWorld } from './scale-world.js';

const LOAD_MS = 4000;
const options = { scale: { min: 1, max: 16, sloMs: 2000 }, loadMs: LOAD_MS, taskMs: 400 };

// Gaps of a Poisson process, relative to their mean.
const chance = (seed: number) => {
  const draw = randomOf(seed);
  return () => -Math.log(1 - draw());
};

void t.test('five times the load makes instances, steady load makes none, less ends them and no task', (t) => {
  const world = new ScaleWorld(options);
  world.run(600_000, 2, chance(1));
  const before = world.count;
  t.ok(before >= 1 && before <= 4, `${before} instances for 2 requests a second of 0.4 s`);
  const actions = world.actions.length;
  world.run(600_000, 2, chance(2));
  t.ok(world.actions.length - actions <= 2, `${world.actions.length - actions} actions in ten steady minutes`);
  const stepMs = world.nowMs;
  world.run(120_000, 10, chance(3));
  t.ok(world.count >= 4, `${world.count} instances for 10 a second`);
  // From when on are 95 of 100 in time again, in windows of two seconds?
  let heldMs = stepMs;
  for (let fromMs = stepMs; fromMs < stepMs + 100_000; fromMs += 2000) {
    const own = world.latencies.filter(({ cameMs }) => cameMs >= fromMs && cameMs < fromMs + 2000);
    if (own.filter(({ ms }) => ms > 2000).length > 0.05 * own.length) heldMs = fromMs + 2000;
  }
  t.ok(heldMs - stepMs <= 3 * LOAD_MS, `in time again after ${heldMs - stepMs} ms`);
  const most = world.count;
  world.run(900_000, 2, chance(4));
  t.ok(world.count < most && world.count >= 1, `${world.count} instances again`);
  t.equal(world.cut, 0, 'no place has ended under a task');
  const events = world.actions.map(({ atMs, decision }, i) => ({
    ...{ sequence: i + 1, atMs, term: 1, app: 'clip', type: 'scale', words: '' },
    inputs: JSON.parse(JSON.stringify(decision.event)),
  }));
  t.strictSame(replayEvents(events), { decisions: events.length, differing: [] });
  const [first] = events;
  const altered = { ...first!, inputs: { ...first!.inputs, load: { ...first!.inputs.load, arrived: 900 } } };
  t.match(replayEvents([altered]).differing, [{ sequence: 1, words: /^was up to \d+/ }]);
  t.throws(() => replayEvents([{ ...first!, inputs: null }]), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  t.end();
});

void t.test('an action is not repeated while its instances start, nor where there is no room for them', (t) => {
  const slow = new ScaleWorld({ ...options, loadMs: 30_000 });
  slow.run(60_000, 1);
  slow.run(20_000, 8);
  t.equal(slow.actions.filter(({ atMs }) => atMs > 60_000).length, 1);
  const small = new ScaleWorld({ ...options, cores: 3 });
  small.run(400_000, 10);
  t.equal(small.count, 3);
  t.match(small.record!.unplaced, [/work/]);
  t.ok(small.actions.length <= 6, `${small.actions.length} actions for what cannot be had`);
  t.end();
});

void t.test('only gateways that are there count, and only what comes while they are seen', (t) => {
  const world = new ScaleWorld(options);
  world.run(20_000, 2);
  const last = () => world.decisions.at(-1)!.decision.event.load;
  const { load } = world;
  const more = { ...load, arrived: load.arrived + 7 };
  world.decide(new Map([[0, load]]));
  world.decide(new Map([[0, more]]));
  t.equal(last().arrived, 7);
  // Another gateway that has counted for long.
  const second = { ...load, incarnation: 9, arrived: 5000 };
  world.decide(
    new Map([
      [0, more],
      [1, second],
    ]),
  );
  t.equal(last().arrived, 0);
  const { work } = second.stages;
  world.decide(
    new Map([
      [0, more],
      [1, { ...second, arrived: 5003, stages: { work: { ...work!, atWork: 1, waiting: 4 } } }],
    ]),
  );
  t.match(last(), { arrived: 3, queued: work!.waiting + 4 });
  world.decide(new Map([[0, { ...more, incarnation: 2, arrived: 1 }]]));
  t.equal(last().arrived, 0, 'one that has begun again');
  world.decide(new Map());
  t.match(last(), { arrived: 0, queued: 0, running: 0 });
  t.end();
});

void t.test('what was remembered goes on elsewhere, and what an operator has fixed stays', (t) => {
  const world = new ScaleWorld(options);
  world.run(400_000, 8);
  const { stages } = JSON.parse(JSON.stringify(world.state)) as typeof world.state;
  const { count } = world;
  world.state = { ...NO_FEED, stages };
  const actions = world.actions.length;
  world.run(30_000, 8);
  t.equal(world.count, count);
  t.equal(world.actions.length, actions, 'a new leader decides nothing else');
  const fixed = { ...world.app, wanted: { work: 7 }, fixed: ['work'] };
  t.strictSame(scaledStages(fixed), []);
  t.strictSame(wantedOf(fixed, stages), { work: 7 });
  t.strictSame(wantedOf(world.app, { work: { ...stages.work!, to: 99 } }), { work: 16 });
  const known = { app: fixed, record: world.record, reports: {}, gateways: [] };
  t.strictSame(feed({ known, loads: new Map() }, world.state, 1).decisions, []);
  t.end();
});

void t.test('who may not have what it wants, and is well with what it has, wants no more', (t) => {
  const world = new ScaleWorld({ ...options, cores: 2 });
  world.run(120_000, 4, chance(1));
  const want = () => wantedOf(world.app, world.state.stages).work!;
  const many = want();
  t.ok(many > 2 && world.count === 2, `${many} wanted, ${world.count} there`);
  const run = (limits: Record<string, number> | undefined) => {
    for (const endMs = world.nowMs + 240_000; world.nowMs < endMs; ) {
      world.step(1, chance(2));
      if (world.nowMs % 1000 === 0) world.follow(undefined, limits);
    }
  };
  run(undefined);
  t.equal(want(), many, 'without a limit it waits for room');
  run({ work: 2 });
  t.ok(want() <= 2, `${want()} wanted`);
  t.end();
});
