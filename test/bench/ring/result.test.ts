// Proves: a ratio above 1 says that ours is better, of a latency as of a rate, and like is compared with like.
import t from 'tap';
import { compareResults, emptyResult, NO_LATENCY, type RingResult } from '../../../src/ts/bench/ring/result.js';

const ours = { device: 'soft0', peer: null, way: 'copy' } as const;
const theirs = { device: 'Unix socket', peer: 'unix', way: null } as const;

void t.test('latencies are theirs to ours, rates are ours to theirs', async (t) => {
  const a: RingResult = {
    ...emptyResult('ring-lat', ours, 64),
    latencyUs: { ...NO_LATENCY, p50: 2 },
    touchedUs: { ...NO_LATENCY, p50: 4 },
  };
  const b: RingResult = { ...emptyResult('ring-lat', theirs, 64), latencyUs: { ...NO_LATENCY, p50: 30 } };
  const [latency, ...none] = compareResults([a, b]);
  t.match(latency, {
    test: 'ring-lat',
    sizeBytes: 64,
    way: 'copy',
    peer: 'unix',
    latencyRatio: 15,
    copiedRatio: null,
    touchedRatio: null,
  });
  t.strictSame(none, []);
  const c: RingResult = { ...emptyResult('ring-bw', ours, 64), gigabytesPerSecond: 3, messagesPerSecond: 10 };
  const d: RingResult = { ...emptyResult('ring-bw', theirs, 64), gigabytesPerSecond: 6, messagesPerSecond: 5 };
  t.match(compareResults([c, d]), [{ gigabytesPerSecondRatio: 0.5, messagesPerSecondRatio: 2, latencyRatio: null }]);
});

void t.test('another test, size or number of producers is not compared', async (t) => {
  const a = emptyResult('ring-lat', ours, 64);
  t.strictSame(compareResults([a, emptyResult('ring-lat', theirs, 65)]), []);
  t.strictSame(compareResults([a, emptyResult('ring-bw', theirs, 64)]), []);
  t.strictSame(compareResults([a, { ...emptyResult('ring-lat', theirs, 64), producers: 2 }]), []);
  t.equal(compareResults([a, { ...a, way: 'in-place' }, emptyResult('ring-lat', theirs, 64)]).length, 2);
});
