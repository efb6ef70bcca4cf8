// Proves that the closed forms agree with textbook values and with a simulation of the same queue.
import t from 'tap';
import {
  erlangC,
  md1MeanWaitMs,
  mg1PsMeanMs,
  mmcMeanWaitMs,
  mmcWaitsLonger,
  serversFor,
} from '../../src/ts/planner/queueing.js';
import { randomOf } from '../../src/ts/planner/random.js';
import { partWithin, poisson, runStage } from './stage-model.js';

const near = (a: number, b: number, part: number) => Math.abs(a - b) <= part * b;

void t.test('Erlang C has its known values', async (t) => {
  t.ok(near(erlangC(1, 0.5), 0.5, 1e-12), 'one server: the load');
  t.ok(near(erlangC(2, 1), 1 / 3, 1e-12));
  t.ok(near(erlangC(10, 8), 0.4091801508, 1e-6));
  t.equal(erlangC(3, 3), 1);
  t.ok(erlangC(5000, 4900) < 1 && erlangC(5000, 4900) > 0, 'large systems do not overflow');
});

void t.test('mean waits have their known values, and are endless where work comes too fast', async (t) => {
  t.ok(near(mmcMeanWaitMs(1, 0.0005, 1000), 1000, 1e-12));
  t.ok(near(md1MeanWaitMs(0.0005, 1000), 500, 1e-12), 'half of that of M/M/1');
  t.ok(near(mg1PsMeanMs(0.0005, 1000), 2000, 1e-12));
  t.same([mmcMeanWaitMs(1, 1, 1), md1MeanWaitMs(1, 1), mg1PsMeanMs(2, 1)], [Infinity, Infinity, Infinity]);
  t.same([mmcMeanWaitMs(1, 0, 1000), md1MeanWaitMs(0, 0), mmcWaitsLonger(2, 0, 1000, 0)], [0, 0, 0]);
});

void t.test('a simulation of M/M/3 and of M/D/1 waits as the forms say', async (t) => {
  const exponential = (u: number) => -Math.log(1 - u) * 1000;
  const run = (rate: number, fixed: number, service: (u: number) => number) => {
    const arrivals = poisson(5, 200_000_000, () => rate, service);
    const { latenciesMs } = runStage({
      arrivals,
      untilMs: 200_000_000,
      loadMs: 0,
      fixed,
      policy: { sloMs: 1 },
      tickMs: 500,
    });
    return latenciesMs.map((ms, i) => ms - arrivals[i]!.serviceMs);
  };
  const waits = run(0.0024, 3, exponential);
  const mean = (list: number[]) => list.reduce((a, b) => a + b, 0) / list.length;
  t.ok(near(mean(waits), mmcMeanWaitMs(3, 0.0024, 1000), 0.05), `${mean(waits)} ms`);
  t.ok(near(1 - partWithin(waits, 2000), mmcWaitsLonger(3, 0.0024, 1000, 2000), 0.05));
  const fixedWaits = run(0.0007, 1, () => 1000);
  t.ok(near(mean(fixedWaits), md1MeanWaitMs(0.0007, 1000), 0.05), `${mean(fixedWaits)} ms`);
});

void t.test('the fewest servers are enough, and one less is not', async (t) => {
  for (const rate of [0.0001, 0.003, 0.1, 2]) {
    const servers = serversFor(rate, 1000, 500, 0.01, 10_000);
    t.ok(mmcWaitsLonger(servers, rate, 1000, 500) <= 0.01);
    t.ok(servers === 1 || mmcWaitsLonger(servers - 1, rate, 1000, 500) > 0.01, `${servers} servers`);
  }
  t.equal(serversFor(0, 1000, 500, 0.01, 10), 0);
  t.equal(serversFor(1, 1000, 500, 0.01, 10), 10, 'no more than there may be');
  t.throws(() => serversFor(Number.NaN, 1, 1, 0.01, 10), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
});

void t.test('the search finds what a search by halves over the formula finds', async (t) => {
  const halved = (rate: number, serviceMs: number, waitMs: number, late: number, most: number): number => {
    let [low, high] = [Math.max(1, Math.min(most, Math.floor(rate * serviceMs))), most];
    while (low < high) {
      const servers = (low + high) >> 1;
      if (mmcWaitsLonger(servers, rate, serviceMs, waitMs) <= late) high = servers;
      else low = servers + 1;
    }
    return high;
  };
  const draw = randomOf(11);
  const questions = Array.from({ length: 2000 }, (_, i) => {
    const [rate, serviceMs] = [10 ** (4 * draw() - 5), 10 ** (2 + 3 * draw())];
    const most = i % 5 === 0 ? Math.ceil(2 * rate * serviceMs) : 2 ** Math.floor(17 * draw());
    return [rate, serviceMs, i % 3 === 0 ? 0 : serviceMs * 2 * draw(), 0.5 ** (1 + 10 * draw()), most] as const;
  });
  const wrong = questions.filter((each) => serversFor(...each) !== halved(...each));
  t.same(wrong, []);
  // More questions in turn than answers are remembered, and each of them twice.
  const again = questions.slice(0, 40).filter((each) => {
    const answer = halved(...each);
    return serversFor(...each) !== answer || serversFor(...each) !== answer;
  });
  t.same(again, []);
  const [rate, serviceMs, waitMs, late] = [0.05, 1000, 500, 0.01];
  const few = serversFor(rate, serviceMs, waitMs, 0.4, 1000);
  t.ok(serversFor(rate, serviceMs, waitMs, late, 1000) > few, 'an answer belongs to its part');
  t.equal(serversFor(rate, serviceMs, waitMs, late, few), few, 'and to its most');
});
