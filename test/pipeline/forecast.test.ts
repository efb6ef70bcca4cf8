// Proves the arithmetic of forecasts: exact against a simulation of lines with fixed costs, never earlier than the work
// ahead allows, later with more work, and right about servers that start.
import fc from 'fast-check';
import t from 'tap';
import { drainedAfterUs, forecast, type StageAhead } from '../../src/ts/pipeline/forecast.js';

const stage = (workUs: number, servers: number, ownUs: number, startingUs: number[] = []): StageAhead => {
  return { workUs, servers, ownUs, startingUs };
};

void t.test('how long servers need', async (t) => {
  const table: [number, number, number[], number][] = [
    [0, 1, [], 0],
    [0, 0, [500, 200], 200],
    [0, 0, [], Number.POSITIVE_INFINITY],
    [100, 0, [], Number.POSITIVE_INFINITY],
    [100, 2, [], 50],
    [100, 0.5, [], 200],
    [100, 1, [50], 75],
    [100, 1, [200], 100],
    [100, 0, [10, 20], 65],
    [100, 0, [10, 500], 110],
  ];
  for (const [work, servers, starting, us] of table) {
    t.equal(drainedAfterUs(work, servers, starting), us, `${work} by ${servers} and ${starting}`);
  }
});

void t.test('a line, a diamond, and which stage is the bottleneck', async (t) => {
  t.same(forecast([[-1], [0]], [stage(0, 1, 10), stage(0, 1, 20)], 5), {
    completionUs: 35,
    aloneUs: 35,
    bottleneck: -1,
  });
  const line = forecast([[-1], [0]], [stage(100, 1, 10), stage(1000, 1, 20)], 0);
  t.same(line, { completionUs: 1020, aloneUs: 30, bottleneck: 1 });
  const diamond = forecast([[-1], [-1], [0, 1]], [stage(0, 1, 10), stage(70, 1, 30), stage(0, 4, 1)], 0);
  t.same(diamond, { completionUs: 101, aloneUs: 31, bottleneck: 1 });
});

// Requests that all wait at the beginning of a line, first come first served, by hand.
function simulate(costs: readonly number[], servers: readonly number[], requests: number): number {
  const free = servers.map((count) => new Array<number>(count).fill(0));
  let last = 0;
  for (let request = 0; request < requests; request++) {
    let at = 0;
    costs.forEach((cost, i) => {
      const list = free[i]!;
      const first = list.indexOf(Math.min(...list));
      at = Math.max(at, list[first]!) + cost;
      list[first] = at;
    });
    last = at;
  }
  return last;
}

void t.test('for a line of single servers with fixed costs it is within a task of the truth', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 0, max: 60 }),
      (costs, ahead) => {
        const truth = simulate(
          costs,
          costs.map(() => 1),
          ahead + 1,
        );
        const stages = costs.map((cost) => stage(ahead * cost, 1, cost));
        const { completionUs } = forecast(
          costs.map((_, i) => [i - 1]),
          stages,
          0,
        );
        // The first request fills the line; the forecast takes stages for busy from the beginning.
        const filling = costs.reduce((sum, cost) => sum + cost, 0);
        return completionUs <= truth && completionUs >= truth - filling;
      },
    ),
  );
  t.pass('no counterexample');
});

void t.test('more work ahead is never earlier, and more servers are never later', async (t) => {
  const times = fc.integer({ min: 0, max: 1000 });
  fc.assert(
    fc.property(
      times,
      times,
      fc.integer({ min: 1, max: 8 }),
      times,
      fc.array(times, { maxLength: 3 }),
      (work, more, servers, own, starting) => {
        const us = (workUs: number, count: number, later: number[]) =>
          forecast([[-1]], [stage(workUs, count, own, later)], 0).completionUs;
        const base = us(work, servers, starting);
        return (
          us(work + more, servers, starting) >= base &&
          us(work, servers + 1, starting) <= base &&
          us(work, servers, []) >= base
        );
      },
    ),
  );
  t.pass('no counterexample');
});
