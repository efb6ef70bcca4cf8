// Proves: a figure is judged by its goal in the right direction, and only where there is one.
import t from 'tap';
import { goalOf, reached } from '../../../src/ts/bench/device/goals.js';
import { comparisonOf, resultOf } from '../../../src/ts/bench/device/result.js';

void t.test('less is better for times, more for rates', (t) => {
  const seen = goalOf('write-seen', 64)!;
  t.strictSame(
    [0.3, 0.31, 0.6, 0.61].map((us) => reached(seen, us)),
    ['stretch', 'at least', 'at least', 'no'],
  );
  const batch = goalOf('write-batch', 64)!;
  t.strictSame(
    [10, 9.99, 3, 2.99].map((millions) => reached(batch, millions)),
    ['stretch', 'at least', 'at least', 'no'],
  );
  t.equal(reached(goalOf('event-loop', 2 ** 30)!, 0.5), 'at least', 'there is no stretch');
  t.end();
});

void t.test('a copy below 1 MiB, another device and a missing figure have no goal', (t) => {
  t.equal(goalOf('write-copy', 65_536), undefined);
  t.match(resultOf('soft0', 'read', { sizeBytes: 64, value: 0.5 }), { goal: { reached: 'at least' } });
  t.match(resultOf('rxe0', 'read', { sizeBytes: 64, value: 0.5 }), { goal: null, figure: { value: 0.5, unit: 'us' } });
  t.match(resultOf('soft0', 'write-copy', { sizeBytes: 2 ** 20 }), { goal: null, figure: null });
  t.end();
});

void t.test('a comparison is of the same test and size, and of the same kind of figure', (t) => {
  const latencyUs = { p50: 0.2, p99: 1, p999: 2 };
  const ours = [
    resultOf('soft0', 'read', { sizeBytes: 64, latencyUs }),
    resultOf('soft0', 'write-batch', { sizeBytes: 64, messagesPerSecond: 30 }),
  ];
  const their = (test: 'read' | 'write-batch', parts: object) => resultOf('soft0', test, { peer: 'x', ...parts });
  t.match(comparisonOf(ours, their('read', { sizeBytes: 64, latencyUs: { ...latencyUs, p50: 0.4 } })), {
    unit: 'us',
    ours: 0.2,
    theirs: 0.4,
    ratio: 0.5,
  });
  t.match(comparisonOf(ours, their('write-batch', { sizeBytes: 64, messagesPerSecond: 10 })), {
    unit: 'messages/s',
    ratio: 3,
  });
  t.equal(comparisonOf(ours, their('read', { sizeBytes: 128, latencyUs })), undefined);
  t.equal(comparisonOf(ours, their('read', { sizeBytes: 64 })), undefined);
  t.end();
});
