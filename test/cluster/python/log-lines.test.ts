// Proves that what a Python process prints becomes whole lines with a label, that they are bounded, and that what is
// left out is counted.
import t from 'tap';
import { LogLines } from '../../../src/ts/cluster/python/log-lines.js';

void t.test('lines have a label; one that comes in pieces is one line; the end writes the rest', async (t) => {
  const log = new LogLines('act/0');
  t.equal(log.add('one\ntw', 0, 0), 'act/0: one\n');
  t.equal(log.add('o\n\nthree', 0, 1), 'act/0: two\nact/0: \n');
  t.equal(log.end(), 'act/0: three\n');
  t.equal(log.tail, 'one\ntwo\n\nthree');
  t.equal(log.droppedBytes, 0);
});

void t.test('each stream ends its own lines', async (t) => {
  const log = new LogLines('act/0');
  t.equal(log.add('half of one ', 0, 0), '');
  t.equal(log.add('a warning\nhalf of two ', 1, 1), 'act/0: a warning\n');
  t.equal(log.add('line\n', 0, 2), 'act/0: half of one line\n');
  t.equal(log.add('rest', 0, 3), '');
  t.equal(log.end(), 'act/0: rest\nact/0: half of two \n');
  t.equal(log.end(), '');
});

void t.test('a line without an end is cut, and not kept', async (t) => {
  const log = new LogLines('act/0');
  const lines = log.add('x'.repeat(10_000), 0, 0).split('\n').slice(0, -1);
  t.same(
    lines.map((line) => line.length),
    [4096 + 7, 4096 + 7],
  );
  t.equal(log.end().length, 10_000 - 2 * 4096 + 8);
});

void t.test('what is printed too fast is left out, and said once there is room again', async (t) => {
  const log = new LogLines('act/0');
  const line = `${'x'.repeat(1023)}\n`;
  let written = 0;
  for (let i = 0; i < 4096; i++) written += log.add(line, 0, 0).length;
  t.ok(written <= 2 ** 20, `${written} bytes`);
  t.ok(written > 2 ** 19);
  const before = log.droppedBytes;
  t.ok(before >= 3 * 2 ** 20 - 2 ** 16);
  t.equal(log.add('soon\n', 0, 100), '', 'not each second line with a gap behind it');
  t.equal(
    log.add('later\n', 0, 1000),
    `act/0: (${before + 5} bytes that it printed too fast are left out)\nact/0: later\n`,
  );
  t.equal(log.end(), '');
});
