// Proves the fairness of turns: whoever has something waiting is served, those who always have something get the same
// bytes, and idle lanes are not looked at.
import t from 'tap';
import type { Lane } from '../../src/ts/ring/lane.js';
import { QUANTUM_BYTES, LaneScheduler } from '../../src/ts/ring/lane-scheduler.js';
import { random } from './support.js';

const lanesOf = (count: number) =>
  Array.from({ length: count }, (_, id) => ({ id, waiting: 0, queued: false, deficit: 0 }) as unknown as Lane);

void t.test('lanes that always have something get the same bytes, whatever the sizes of their messages', async (t) => {
  const sizes = [64, 1000, 65536, 1_000_000, 0];
  const lanes = lanesOf(sizes.length);
  const scheduler = new LaneScheduler(8);
  const got = sizes.map(() => 0);
  for (const lane of lanes) scheduler.announce(lane, 1);
  for (let n = 0; n < 2_000_000; n++) {
    const lane = scheduler.next();
    if (lane === undefined) throw new Error('somebody has something');
    scheduler.announce(lane, 1);
    scheduler.charge(lane, sizes[lane.id]!);
    got[lane.id]! += sizes[lane.id]! + 64;
  }
  const least = Math.min(...got);
  t.ok(Math.max(...got) - least <= 2_000_000 + QUANTUM_BYTES, `${got}: apart by a message and a turn at most`);
  t.ok(least > 20_000_000);
});

void t.test('nobody waits for more than one turn of every other lane', async (t) => {
  const lanes = lanesOf(10);
  const scheduler = new LaneScheduler(10);
  for (const lane of lanes.slice(1)) scheduler.announce(lane, 1_000_000);
  for (let n = 0; n < 5000; n++) scheduler.charge(scheduler.next()!, 1000);
  scheduler.announce(lanes[0]!, 1);
  let before = 0;
  for (let lane = scheduler.next()!; lane.id !== 0; lane = scheduler.next()!) {
    scheduler.charge(lane, 1000);
    before++;
  }
  t.ok(before <= 9 * (QUANTUM_BYTES / 1064 + 1), `${before} messages before it`);
});

void t.test('every announced message is given out once, and a lane that is dropped gives none', async (t) => {
  const pick = random(7);
  const lanes = lanesOf(6);
  const scheduler = new LaneScheduler(6);
  const open = lanes.map(() => 0);
  const wrong: string[] = [];
  for (let step = 0; step < 20_000; step++) {
    const lane = lanes[pick(6)]!;
    const kind = pick(20);
    if (kind < 8) {
      const count = 1 + pick(4);
      scheduler.announce(lane, count);
      open[lane.id]! += count;
    } else if (kind === 8) {
      scheduler.drop(lane);
      open[lane.id] = 0;
    } else {
      const next = scheduler.next();
      const total = open.reduce((sum, count) => sum + count, 0);
      if ((next === undefined) !== (total === 0)) wrong.push(`step ${step}: ${total} wait`);
      if (next === undefined) continue;
      if (open[next.id]! <= 0) wrong.push(`step ${step}: lane ${next.id} has nothing`);
      open[next.id]!--;
      scheduler.charge(next, pick(200_000));
    }
  }
  t.strictSame(wrong, []);
  for (const lane of lanes) scheduler.drop(lane);
  t.ok(scheduler.next() === undefined && scheduler.empty);
});
