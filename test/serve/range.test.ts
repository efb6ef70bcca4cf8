// Proves that a range is inside what there is, for every header.
import fc from 'fast-check';
import t from 'tap';
import { parseRange } from '../../src/ts/serve/range.js';

void t.test('one range is what RFC 9110 says, anything else is the whole', async (t) => {
  const cases: [string | undefined, unknown][] = [
    [undefined, undefined],
    ['bytes=0-0', { begin: 0, end: 1 }],
    ['bytes=2-', { begin: 2, end: 10 }],
    ['bytes=-3', { begin: 7, end: 10 }],
    ['bytes=-99', { begin: 0, end: 10 }],
    ['BYTES=4-99', { begin: 4, end: 10 }],
    ['bytes=10-', 'unsatisfiable'],
    ['bytes=-0', 'unsatisfiable'],
    ['bytes=5-4', undefined],
    ['bytes=-', undefined],
    ['bytes=0-1,3-4', undefined],
    ['items=0-1', undefined],
    ['bytes=a-b', undefined],
  ];
  for (const [header, wanted] of cases) t.strictSame(parseRange(header, 10), wanted, String(header));
  t.equal(parseRange('bytes=0-', 0), 'unsatisfiable');
});

void t.test('no header reaches outside', async (t) => {
  const numbers = fc.oneof(
    fc.constant(''),
    fc.bigInt({ min: 0n, max: 10n ** 16n - 1n }).map(String),
    fc.nat(20).map(String),
  );
  fc.assert(
    fc.property(numbers, numbers, fc.nat(20), (first, last, bytes) => {
      const range = parseRange(`bytes=${first}-${last}`, bytes);
      if (typeof range !== 'object') return;
      t.ok(range.begin >= 0 && range.begin < range.end && range.end <= bytes);
    }),
  );
});
