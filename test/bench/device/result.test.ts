// Proves: a row has the figure of its test, and is beside the rows that measure the same.
import t from 'tap';
import { comparisonOf, resultOf } from '../../../src/ts/bench/device/result.js';

void t.test('a figure has the unit of its test, and a missing one is none', (t) => {
  t.match(resultOf('rxe0', 'read', { sizeBytes: 64, value: 0.5 }), { figure: { value: 0.5, unit: 'us' } });
  t.match(resultOf('soft0', 'write-batch', { value: 1 / 3 }), { figure: { value: 0.333, unit: 'million/s' } });
  t.match(resultOf('soft0', 'write-copy', { sizeBytes: 2 ** 20 }), { figure: null });
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
