// Proves: figures have at most three significant digits, their unit, and a dash when they are not known.
import t from 'tap';
import { bytes, clockTime, count, duration, figure, percent, perSecond } from '../../src/ts/observe/units.js';

const rows = <T>(format: (value: T) => string, expected: [T, string][]) =>
  [expected.map(([value]) => format(value).replaceAll('\u00a0', ' ')), expected.map(([, text]) => text)] as const;

void t.test('each kind of figure', async (t) => {
  const unknown: [number | null | undefined, string][] = [
    [null, '–'],
    [undefined, '–'],
  ];
  t.strictSame(
    ...rows(figure, [
      ...unknown,
      [Number.NaN, '–'],
      [0, '0'],
      [0.001, '<0.01'],
      [0.5, '0.50'],
      [12.34, '12.3'],
      [123.4, '123'],
    ]),
  );
  t.strictSame(
    ...rows(figure, [
      [9999, '9999'],
      [1234.5, '1235'],
      [12_345, '12.3k'],
      [1.5e6, '1.50M'],
      [2e9, '2G'],
    ]),
  );
  t.strictSame(
    ...rows(duration, [
      ...unknown,
      [0, '0 µs'],
      [1.234, '1.23 µs'],
      [999.4, '999 µs'],
      [999.6, '1.00 ms'],
      [56_780, '56.8 ms'],
      [999_600, '1.00 s'],
      [119e6, '119 s'],
      [600e6, '10.0 min'],
      [7200e6, '2.00 h'],
    ]),
  );
  t.strictSame(
    ...rows(bytes, [...unknown, [0, '0 B'], [999, '999 B'], [1024, '1 KiB'], [1536, '1.50 KiB'], [2 ** 40, '1 TiB']]),
  );
  t.strictSame(...rows(percent, [...unknown, [0, '0 %'], [0.994, '99 %'], [1, '100 %']]));
  t.strictSame(...rows(count, [...unknown, [7, '7'], [9999, '9999'], [123_456, '123k']]));
  t.strictSame(...rows(perSecond, [...unknown, [3.125, '3.13/s'], [37, '37.0/s'], [0, '0/s'], [12_345, '12.3k/s']]));
  t.match(clockTime(0), /^\d\d:\d\d:\d\d$/);
});
