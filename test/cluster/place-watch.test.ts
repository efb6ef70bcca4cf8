// Proves when a process is ended from outside, from tables of what is seen of it; and that time in which nobody looked
// ends nobody.
import fc from 'fast-check';
import t from 'tap';
import { PlaceWatch, type WatchLimits } from '../../src/ts/cluster/place-watch.js';
import type { RunningTask } from '../../src/ts/pipeline/index.js';

const LIMITS: WatchLimits = { heartbeatMs: 2000, taskTimeoutMs: 500, graceMs: 1000 };
const task = (ticket: number, sinceUs = 1): RunningTask => ({
  gateway: 0,
  gatewayRun: 10,
  ticket,
  attempt: 1,
  sinceUs,
});

interface Look {
  stepMs: number;
  tasks?: RunningTask[];
  isStopped?: boolean;
  ended?: number[];
}

function outcome(limits: WatchLimits, looks: readonly Look[]) {
  const watch = new PlaceWatch(limits);
  const told: number[] = [];
  let ms = 0;
  for (const { stepMs, tasks = [], isStopped = false, ended = [] } of looks) {
    ms += stepMs;
    const verdict = watch.look(
      stepMs,
      { tasks, isStopped },
      ({ ticket }) => !ended.includes(ticket),
      ({ ticket }) => told.push(ticket),
    );
    if (verdict !== undefined)
      return { kind: verdict.kind, ms, ticket: verdict.task?.ticket, told, words: verdict.words };
  }
  return { kind: 'none', ms, ticket: undefined, told, words: '' };
}

const times = (count: number, look: Look): Look[] => Array.from({ length: count }, () => look);

void t.test('a stopped process is ended after heartbeatMs, counted from the look that saw it', async (t) => {
  const looks = [{ stepMs: 250 }, ...times(20, { stepMs: 250, isStopped: true })];
  t.match(outcome(LIMITS, looks), { kind: 'hang', ms: 250 + 250 + 2000, words: /stopped for 2000 ms \(heartbeatMs\)/ });
});

void t.test('one that is continued in time is not', async (t) => {
  const short = [...times(8, { stepMs: 250, isStopped: true }), { stepMs: 250 }];
  t.match(outcome(LIMITS, [...short, ...short, ...short]), { kind: 'none' });
});

void t.test('a task is ended after its time-out and the grace, and named', async (t) => {
  const looks = times(40, { stepMs: 100, tasks: [task(7)] });
  t.match(outcome(LIMITS, looks), {
    kind: 'task-timeout',
    ms: 100 + 1500,
    ticket: 7,
    words: /a-0-7 .*500 ms.*1000 ms/,
  });
});

void t.test('of several tasks it names the one that takes too long', async (t) => {
  const looks = Array.from({ length: 40 }, (_, i) => ({
    stepMs: 100,
    tasks: [task(100 + i, i), task(3), task(200 + i, i)],
  }));
  t.match(outcome(LIMITS, looks), { kind: 'task-timeout', ticket: 3 });
});

void t.test('the same request once more is another task', async (t) => {
  const looks = Array.from({ length: 40 }, (_, i) => ({ stepMs: 100, tasks: [task(3, Math.floor(i / 5))] }));
  t.match(outcome(LIMITS, looks), { kind: 'none' });
});

void t.test('without a time-out a task may take for ever', async (t) => {
  const looks = times(10_000, { stepMs: 250, tasks: [task(7)] });
  t.match(outcome({ ...LIMITS, taskTimeoutMs: undefined }, looks), { kind: 'none' });
});

void t.test('a task whose request has ended gets one notice, and is ended after the grace', async (t) => {
  const looks = [
    ...times(5, { stepMs: 100, tasks: [task(7)] }),
    ...times(30, { stepMs: 100, tasks: [task(7)], ended: [7] }),
  ];
  const limits = { ...LIMITS, taskTimeoutMs: undefined };
  t.match(outcome(limits, looks), { kind: 'cancel', ms: 600 + 1000, ticket: 7, told: [7], words: /has ended/ });
});

void t.test('one that stops in time is left in peace', async (t) => {
  const looks = [...times(10, { stepMs: 100, tasks: [task(7)], ended: [7] }), ...times(30, { stepMs: 100 })];
  t.match(outcome(LIMITS, looks), { kind: 'none', told: [7] });
});

void t.test('a process that is stopped is no slow task: it cannot obey', async (t) => {
  const looks = times(40, { stepMs: 100, tasks: [task(7)], isStopped: true });
  t.match(outcome(LIMITS, looks), { kind: 'hang', ticket: undefined });
});

void t.test('however looks are spaced: no verdict before its limit, and none later than two steps behind it', (t) => {
  const steps = fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1, maxLength: 80 });
  fc.assert(
    fc.property(steps, fc.boolean(), fc.boolean(), (list, isStopped, isEnded) => {
      const ended = isEnded ? [7] : [];
      const looks = list.map((stepMs) => ({ stepMs, tasks: [task(7)], isStopped, ended }));
      const { kind, ms } = outcome(LIMITS, looks);
      const limitMs = isStopped ? 2000 : isEnded ? 1000 : 1500;
      const seenMs = ms - list[0]!; // since the first look
      const total = list.reduce((sum, step) => sum + step, 0) - list[0]!;
      if (kind === 'none') return total < limitMs;
      return seenMs >= limitMs && seenMs < limitMs + 500;
    }),
    { numRuns: 500 },
  );
  t.end();
});
