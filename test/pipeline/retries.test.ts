// Proves when a rejected request comes again, with what, and when it does not.
import t from 'tap';
import { RdmaError } from '../../src/ts/pipeline/index.js';
import { checkRequestOptions, type CheckedOptions, type PipelineResult } from '../../src/ts/pipeline/request.js';
import { runWithRetries } from '../../src/ts/pipeline/retries.js';

// A clock that goes on when something waits for it.
function port(random = 0) {
  let nowMs = 1000;
  const waits: number[] = [];
  const after = (ms: number, call: () => void) => {
    waits.push(ms);
    nowMs += ms;
    queueMicrotask(call);
    return () => {};
  };
  return { waits, nowUs: () => nowMs * 1000, random: () => random, clock: { now: () => nowMs, after } };
}
const rejected = (retryAfterMs?: number, retryToken?: string) =>
  new RdmaError('RDMA_ERR_REJECTED', 'full', { retryAfterMs, retryToken });
const result = {} as PipelineResult;

// Answers with these, one after the other; an error is thrown.
function answers(...list: (RdmaError | PipelineResult)[]) {
  const tried: CheckedOptions[] = [];
  const tryOnce = async (options: CheckedOptions) => {
    tried.push(options);
    const answer = list.shift();
    if (answer instanceof RdmaError) throw answer;
    return answer!;
  };
  return { tried, tryOnce };
}

void t.test('it comes again at the time of the rejection and a little later, with its token', async (t) => {
  const world = port(0.5);
  const { tried, tryOnce } = answers(rejected(100, 'a'), rejected(20, 'b'), result);
  const options = checkRequestOptions({ retries: 5, timeoutMs: 1000, retryToken: 'own' });
  t.equal(await runWithRetries(options, world, tryOnce), result);
  t.same(world.waits, [105, 21]);
  t.same(
    tried.map(({ retryToken, timeoutMs }) => ({ retryToken, timeoutMs })),
    [
      { retryToken: 'own', timeoutMs: 1000 },
      { retryToken: 'a', timeoutMs: 895 },
      { retryToken: 'b', timeoutMs: 874 },
    ],
  );
});

void t.test('it does not come again when tries or time are used up, nobody says when, or it has failed', async (t) => {
  const end = new RdmaError('RDMA_ERR_STAGE_FAILED', 'no', { retryAfterMs: 1 });
  const last = rejected(50);
  const cases: [string, object, RdmaError[], RdmaError, number][] = [
    ['tries', { retries: 2 }, [rejected(1), rejected(1), last], last, 3],
    ['time', { retries: 100, timeoutMs: 60 }, [rejected(11), last], last, 2],
    ['when', { retries: 2 }, [rejected()], rejected(), 1],
    ['failure', { retries: 2 }, [end], end, 1],
  ];
  for (const [name, options, list, error, count] of cases) {
    const { tried, tryOnce } = answers(...list);
    await t.rejects(runWithRetries(checkRequestOptions(options), port(), tryOnce), error, name);
    t.equal(tried.length, count, name);
  }
});

void t.test('an abort ends the wait, and the next try says so', async (t) => {
  const control = new AbortController();
  const clock = { now: () => 0, after: () => () => {} };
  const aborted = new RdmaError('RDMA_ERR_ABORTED', 'enough');
  const { tried, tryOnce } = answers(rejected(100), aborted);
  const options = checkRequestOptions({ retries: 1, signal: control.signal });
  const run = runWithRetries(options, { ...port(), clock }, tryOnce);
  setImmediate(() => control.abort());
  await t.rejects(run, aborted);
  t.equal(tried.length, 2);
});
