// Invariant under test: a pair of clocks is compared to a microsecond, also when the process loses its processor
// between two reads.
import t from 'tap';
import { clockOffsetUs } from '../../src/ts/core/clock-offset.js';

/** Two clocks, 5000 us apart, where each read takes half a microsecond and `pauses` says what else lies before it. */
function clocks(pauses: (read: number) => number) {
  let nowUs = 100;
  let reads = 0;
  const read = () => {
    nowUs += 0.5 + pauses(reads++);
    return nowUs;
  };
  return { other: () => read() + 5000, own: read, reads: () => reads };
}

void t.test('without interruption one pair is enough', async (t) => {
  const { other, own, reads } = clocks(() => 0);
  t.equal(clockOffsetUs(other, own), 5000);
  t.equal(reads(), 3);
});

void t.test('a pause of 50 ms between two reads does not count', async (t) => {
  for (const at of [1, 2]) {
    const { other, own } = clocks((read) => (read === at ? 50_000 : 0));
    t.equal(clockOffsetUs(other, own), 5000, `before read ${at}`);
  }
});

void t.test('where every pair is interrupted, the closest one decides, and it ends', async (t) => {
  const { other, own, reads } = clocks((read) => (read >= 60 && read < 63 ? 4 : 1000));
  const offsetUs = clockOffsetUs(other, own);
  t.ok(Math.abs(offsetUs - 5000) <= 5, `${offsetUs} us`);
  t.equal(reads(), 150);
});
