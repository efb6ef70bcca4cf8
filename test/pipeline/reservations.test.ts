// Proves that times of reservations lie apart as their share can serve them, that who comes in time finds room once,
// and that the room kept follows how many come.
import fc from 'fast-check';
import t from 'tap';
import { Reservations } from '../../src/ts/pipeline/reservations.js';

void t.test('times ascend, and lie no closer than half of the time serves them', async (t) => {
  const reservations = new Reservations('x');
  const dues = Array.from({ length: 50 }, () => reservations.make(0, 100_000, 1000).dueUs);
  t.equal(dues[0], 100_000);
  // Half of the callers are expected: each takes half of its cost, out of half of the time.
  for (let i = 1; i < dues.length; i++) t.equal(dues[i]! - dues[i - 1]!, 1000);
});

void t.test('a token is good once, from its time on, and not for ever', async (t) => {
  const reservations = new Reservations('x');
  const first = reservations.make(0, 1_000_000, 1000).token!;
  const second = reservations.make(0, 1_000_000, 1000).token!;
  t.not(first, second);
  t.notOk(reservations.claim(first, 500_000), 'too early');
  t.notOk(reservations.claim('x-999', 1_000_000));
  t.ok(reservations.claim(first, 1_000_000));
  t.notOk(reservations.claim(first, 1_000_000));
  t.notOk(reservations.claim(second, 3_000_000), 'too late');
  t.equal(reservations.status().count, 0);
});

void t.test('a newcomer leaves room for those who come before it is done, and at most half of its time', async (t) => {
  const reservations = new Reservations('x');
  t.equal(reservations.aheadUs(0, 1e6), 0);
  for (let i = 0; i < 200; i++) reservations.make(0, 100_000, 20_000);
  const few = reservations.aheadUs(0, 150_000);
  t.ok(few > 0 && few <= 75_000, `${few}`);
  t.ok(reservations.aheadUs(0, 1e6) <= 500_000);
  t.ok(reservations.aheadUs(0, 1e6) > 400_000);
  t.equal(reservations.aheadUs(0, 50_000), 0, 'nobody comes so soon');
});

void t.test('the share that is kept follows those who come and those who stay away', async (t) => {
  const come = new Reservations('x');
  const stay = new Reservations('x');
  for (let i = 0; i < 200; i++) {
    const nowUs = i * 10_000;
    const { token, dueUs } = come.make(nowUs, 0, 100);
    t.ok(come.claim(token!, dueUs));
    stay.make(nowUs, 0, 100);
  }
  t.ok(come.status().keptShare > 0.99);
  t.ok(stay.status().keptShare < 0.01);
  t.ok(stay.aheadUs(2e6, 1e6) < 100, 'nothing is kept for those who never come');
});

void t.test('whatever happens, room is never negative nor more than half', async (t) => {
  const step = fc.tuple(
    fc.integer({ min: 0, max: 200_000 }),
    fc.integer({ min: 0, max: 300_000 }),
    fc.integer({ min: 1, max: 50_000 }),
    fc.boolean(),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const reservations = new Reservations('x');
      let nowUs = 0;
      let lastDueUs = 0;
      const tokens: string[] = [];
      for (const [passUs, fitsUs, costUs, isClaimed] of steps) {
        nowUs += passUs;
        if (isClaimed && tokens.length > 0) reservations.claim(tokens.shift()!, nowUs);
        const { token, dueUs } = reservations.make(nowUs, fitsUs, costUs);
        if (dueUs < nowUs + fitsUs || (dueUs < lastDueUs && lastDueUs > nowUs + fitsUs)) return false;
        lastDueUs = dueUs;
        tokens.push(token!);
        const roomUs = reservations.aheadUs(nowUs, 400_000);
        if (!(roomUs >= 0 && roomUs <= 200_000)) return false;
      }
      return true;
    }),
  );
  t.pass('no counterexample');
});
