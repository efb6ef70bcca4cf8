// Proves in virtual time that a pipeline does as much under overload as it can: requests that cannot be done in time
// are refused, those that are taken are done in time, tenants get their shares, and who comes back when told finds
// room.
import t from 'tap';
import { capacityOf, type LoadedStage, overload, type StreamResult } from './overload-run.js';
import { countNotTime } from './progress.js';

countNotTime();
const SECONDS = 20;
const TIMEOUT_MS = 1000;

const SHAPES: Record<string, readonly LoadedStage[]> = {
  'one stage with four at a time': [{ instances: 1, concurrency: 4, ms: [20, 20] }],
  'three stages, the second the slowest, costs that vary': [
    { instances: 1, concurrency: 1, ms: [2, 6] },
    { instances: 4, concurrency: 1, ms: [20, 60] },
    { instances: 2, concurrency: 1, ms: [5, 15] },
  ],
};

const median = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
const p99 = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length * 0.99)] ?? Number.NaN;
const words = ({ offered, inTime, late, rejected }: StreamResult) =>
  `${offered} offered, ${inTime} in time, ${late} late, ${rejected} refused`;

for (const [name, stages] of Object.entries(SHAPES)) {
  const capacity = capacityOf(stages);
  for (const factor of [1.3, 3, 10]) {
    void t.test(`${name}, ${factor} times the capacity`, async (t) => {
      const streams = [{ perSecond: factor * capacity, options: { timeoutMs: TIMEOUT_MS } }];
      const { results, broken } = await overload({ seed: 1, stages, streams, seconds: SECONDS });
      t.same(broken, []);
      const [result] = results as [StreamResult];
      t.equal(result.inTime + result.late + result.rejected, result.offered);
      t.comment(words(result), `errors ${median(result.errors).toFixed(3)}`);
      t.ok(result.inTime >= 0.95 * capacity * SECONDS, words(result));
      t.ok(result.late <= 0.01 * (result.inTime + result.late), words(result));
      t.ok(median(result.errors) <= 0.2, `median error of forecasts ${median(result.errors)}`);
    });
  }
}

void t.test('a tenant that offers ten times the capacity delays another one by what is at the instances', async (t) => {
  const stages = SHAPES['one stage with four at a time']!;
  const capacity = capacityOf(stages);
  const quiet = { perSecond: capacity / 4, options: { tenant: 'quiet', timeoutMs: TIMEOUT_MS } };
  const noisy = { perSecond: 10 * capacity, options: { tenant: 'noisy', timeoutMs: TIMEOUT_MS } };
  const alone = await overload({ seed: 2, stages, streams: [quiet], seconds: SECONDS });
  const beside = await overload({ seed: 2, stages, streams: [quiet, noisy], seconds: SECONDS });
  t.same([...alone.broken, ...beside.broken], []);
  const [before, after] = [alone.results[0]!, beside.results[0]!];
  t.comment(words(before), words(after), `p99 ${p99(before.tookMs)} and ${p99(after.tookMs)} ms`);
  t.ok(after.rejected + after.late <= 0.01 * after.offered, words(after));
  // A task that runs is not interrupted, and one is at the instance already.
  t.ok(
    p99(after.tookMs) <= p99(before.tookMs) + 2 * 20,
    'it waits for the task that runs and for the next one at most',
  );
});

void t.test('higher priorities go first, whatever waits', async (t) => {
  const stages = SHAPES['one stage with four at a time']!;
  const capacity = capacityOf(stages);
  const streams = [
    { perSecond: capacity / 2, options: { priority: 5, timeoutMs: TIMEOUT_MS } },
    { perSecond: 5 * capacity, options: { timeoutMs: TIMEOUT_MS } },
  ];
  const { results, broken } = await overload({ seed: 3, stages, streams, seconds: SECONDS });
  t.same(broken, []);
  const [high, low] = results as [StreamResult, StreamResult];
  t.comment(words(high), words(low));
  t.ok(high.inTime >= 0.99 * high.offered, words(high));
  t.ok(high.inTime + low.inTime >= 0.95 * capacity * SECONDS, words(low));
});

for (const factor of [1.3, 3]) {
  void t.test(
    `callers that come back at the time that they got are served, ${factor} times the capacity`,
    async (t) => {
      const stages = SHAPES['one stage with four at a time']!;
      const capacity = capacityOf(stages);
      // A burst of four seconds; everybody tries once more.
      const streams = [{ perSecond: factor * capacity, options: { timeoutMs: TIMEOUT_MS } }];
      const { broken, firstRetries } = await overload({ seed: 4, stages, streams, seconds: 6, comeBack: true });
      t.same(broken, []);
      t.comment(`${firstRetries.admitted} of ${firstRetries.tried} first retries`);
      t.ok(firstRetries.tried > 100);
      t.ok(firstRetries.admitted >= 0.8 * firstRetries.tried, `${firstRetries.admitted} of ${firstRetries.tried}`);
    },
  );
}
