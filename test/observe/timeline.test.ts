// Proves: each task begins when its last input is there, the result arrives at the end, and nothing is laid out before
// the request began.
import t from 'tap';
import { timelineOf } from '../../src/ts/observe/timeline.js';
import { checkSpec, type Trace } from '../../src/ts/pipeline/index.js';

const spec = checkSpec({
  name: 'w',
  stages: [{ name: 'a' }, { name: 'b' }, { name: 'c', after: ['a', 'b'] }],
});
const trace: Trace = {
  tasks: [
    { stage: 'c', instance: 0, queueUs: 0, computeUs: 20 },
    { stage: 'a', instance: 0, queueUs: 5, computeUs: 100 },
    { stage: 'b', instance: 1, queueUs: 0, computeUs: 300 },
  ],
  hops: [
    { from: 'request', fromInstance: 0, to: 'a', toInstance: 0, bytes: 1, us: 10 },
    { from: 'request', fromInstance: 0, to: 'b', toInstance: 1, bytes: 1, us: 10 },
    { from: 'a', fromInstance: 0, to: 'c', toInstance: 0, bytes: 1, us: 30 },
    { from: 'b', fromInstance: 1, to: 'c', toInstance: 0, bytes: 1, us: undefined },
    { from: 'c', fromInstance: 0, to: 'result', toInstance: 0, bytes: 1, us: 8 },
  ],
};

void t.test('tasks follow the last of their inputs', async (t) => {
  const segments = timelineOf(spec, trace, 1000);
  const at = (kind: string, name: string) => segments.find((one) => one.kind === kind && one.name === name);
  // 10 + 300 to c, 20 there, 8 to the result: 338 of 1000.
  t.match(segments[0], { kind: 'gateway', startUs: 0, durationUs: 662 });
  t.match(at('compute', 'b/1'), { startUs: 672, durationUs: 300 });
  t.match(at('queue', 'a/0'), { startUs: 672, durationUs: 5 });
  t.match(at('compute', 'c/0'), { startUs: 972, durationUs: 20 });
  t.match(at('hop', 'c/0 → result'), { startUs: 992, durationUs: 8 });
  t.match(at('hop', 'b/1 → c/0'), { durationUs: 0 }, 'between hosts');
  t.equal(segments.length, 1 + 4 + 5);
});

void t.test('clocks that disagree, and traces that are cut, move nothing before the start', async (t) => {
  t.ok(timelineOf(spec, trace, 1).every(({ startUs, durationUs }) => startUs >= 0 && durationUs >= 0));
  const cut = { tasks: trace.tasks.slice(0, 1), hops: trace.hops.slice(2) };
  t.ok(timelineOf(spec, cut, 500).every(({ startUs }) => startUs >= 0));
  t.strictSame(timelineOf(spec, { tasks: [], hops: [] }, 7), [
    { kind: 'gateway', name: 'gateway', startUs: 0, durationUs: 7 },
  ]);
});
