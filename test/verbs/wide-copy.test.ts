// Proves: a wide copy copies exactly the bytes that were asked for, at any place and of any length, and refuses the
// rest.
import t from 'tap';
import { wideCopy } from '../../src/ts/verbs/index.js';

const GUARD = 0xa5;
const source = new Uint8Array(5 << 20);
for (let i = 0; i < source.length; i++) source[i] = (i ^ (i >>> 8) ^ (i >>> 16)) & 0xff;

void t.test('every length around pages and lines, from and to every place in a line', (t) => {
  const page = 4096;
  const lengths = [0, 1, 63, 64, 65, 4 * page, 4 * page + 63, 4 * page + 64, 4 * page + 65, 8 * page, 9 * page + 17];
  const target = new Uint8Array(16 * page);
  let copies = 0;
  for (const length of [...lengths, 40_000, 50_001]) {
    for (const [to, from] of [
      [0, 0],
      [1, 0],
      [0, 1],
      [31, 17],
      [32, 32],
      [63, 1],
      [64, 63],
      [100, 4095],
    ] as const) {
      target.fill(GUARD);
      wideCopy(target, to, source, from, length);
      const isRight =
        Buffer.compare(target.subarray(to, to + length), source.subarray(from, from + length)) === 0 &&
        target.subarray(0, to).every((byte) => byte === GUARD) &&
        target.subarray(to + length).every((byte) => byte === GUARD);
      if (!isRight) t.fail(`${length} bytes from ${from} to ${to}`);
      copies++;
    }
  }
  t.equal(copies, 104);
  t.end();
});

void t.test('what is larger than a cache', (t) => {
  const target = new Uint8Array(source.length + 8);
  for (const length of [(4 << 20) - 1, 4 << 20, (4 << 20) + 12_345, source.length]) {
    target.fill(GUARD);
    wideCopy(target, 5, source, 0, length);
    t.equal(Buffer.compare(target.subarray(5, 5 + length), source.subarray(0, length)), 0, `${length} bytes`);
    t.equal(target[4], GUARD);
    t.equal(target[5 + length], GUARD);
  }
  t.end();
});

void t.test('what does not fit, or lies over its source, is refused', (t) => {
  const target = new Uint8Array(100).fill(GUARD);
  const invalid = { code: 'RDMA_ERR_INVALID_ARGUMENT' };
  t.throws(() => wideCopy(target, 1, source, 0, 100), invalid);
  t.throws(() => wideCopy(target, 0, source, source.length - 99, 100), invalid);
  t.throws(() => wideCopy(target, -1, source, 0, 1), invalid);
  t.throws(() => wideCopy(target, 0, source, 0.5, 1), invalid);
  t.throws(() => wideCopy(target, 0, source, 0, Number.NaN), invalid);
  t.throws(() => wideCopy([] as never, 0, source, 0, 0), invalid);
  t.throws(() => wideCopy(target, 0, new Uint16Array(4) as never, 0, 0), invalid);
  t.throws(() => wideCopy(target, 10, target, 0, 50), invalid);
  t.throws(() => wideCopy(target, 0, target, 10, 50), invalid);
  t.ok(target.every((byte) => byte === GUARD));
  wideCopy(target, 0, target, 50, 50);
  t.end();
});
