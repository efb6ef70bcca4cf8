// Proves that fixed fleets have the fewest instances that hold the SLO.
import t from 'tap';
import { randomOf } from '../../../src/ts/planner/random.js';
import { type Group, lateWith, merged, sizesFor } from '../../../src/ts/planner/fleet/sizing.js';

function group(seed: number, count: number, rate: number): Group {
  const draw = randomOf(seed);
  let s = 0;
  const arrivalS = Float64Array.from({ length: count }, () => {
    s -= Math.log(1 - draw()) / rate;
    return s;
  });
  const serviceS = arrivalS.map(() => 5 + 10 * draw());
  return { arrivalS, serviceS, boundS: serviceS.map((own) => 2 * own) };
}

/** Each server looked at in turn. */
function lateByHand({ arrivalS, serviceS, boundS }: Group, servers: number): number {
  const free = new Array<number>(servers).fill(0);
  let late = 0;
  arrivalS.forEach((atS, i) => {
    const first = free.indexOf(Math.min(...free));
    free[first] = Math.max(free[first]!, atS) + serviceS[i]!;
    if (free[first]! - atS > boundS[i]! * (1 + 1e-9)) late++;
  });
  return late;
}

void t.test('late requests are those of a queue that is worked off by hand', async (t) => {
  const one = group(1, 500, 0.5);
  for (const servers of [1, 2, 5, 6, 9, 40]) t.equal(lateWith(one, servers), lateByHand(one, servers));
});

void t.test('no smaller sizes hold the share, of all that there are', async (t) => {
  const groups = [group(2, 200, 0.2), group(3, 80, 0.05), group(4, 20, 0.01)];
  const total = 300;
  const share = 0.05;
  const sizes = sizesFor(groups, [1, 1, 1], share);
  const late = (counts: readonly number[]) => counts.reduce((sum, n, g) => sum + lateWith(groups[g]!, n), 0);
  t.ok(late(sizes) <= share * total);
  const sum = sizes.reduce((a, b) => a + b, 0);
  let least = Number.POSITIVE_INFINITY;
  for (let a = 1; a < 12; a++) {
    for (let b = 1; b < 8; b++)
      for (let c = 1; c < 5; c++) if (late([a, b, c]) <= share * total) least = Math.min(least, a + b + c);
  }
  t.equal(sum, least, 'as few as the best of all combinations');
});

void t.test('each group keeps an instance', async (t) => {
  t.same(sizesFor([group(5, 1, 1), group(6, 3, 0.001)], [8, 1], 0.9), [1, 1]);
});

void t.test('groups that share instances are one, in the order in which their requests arrive', async (t) => {
  const [a, b] = [group(1, 50, 0.5), group(2, 30, 0.2)];
  const both = merged([a, b]);
  t.equal(both.arrivalS.length, 80);
  t.same(
    [...both.arrivalS],
    [...a.arrivalS, ...b.arrivalS].sort((x, y) => x - y),
  );
  const at = both.arrivalS.indexOf(b.arrivalS[7]!);
  t.same([both.serviceS[at], both.boundS[at]], [b.serviceS[7], b.boundS[7]], 'what is of one request stays together');
});
