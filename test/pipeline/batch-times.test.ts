// Proves that what batches are expected to take follows what they took, of their size or a larger one, and is not too
// short.
import t from 'tap';
import { BatchTimes, UsualTime } from '../../src/ts/pipeline/batch-times.js';

void t.test('without a sample nothing is known', async (t) => {
  t.ok(Number.isNaN(new UsualTime().expectedUs));
  t.ok(Number.isNaN(new BatchTimes().expectedUs(8)));
});

void t.test('the expected time is above a steady time, near it, and follows a change', async (t) => {
  const time = new UsualTime();
  for (let n = 0; n < 100; n++) time.add(n % 2 === 0 ? 900 : 1100);
  t.ok(time.expectedUs > 1000 && time.expectedUs < 1500, `${time.expectedUs} us`);
  for (let n = 0; n < 100; n++) time.add(5000);
  t.ok(time.expectedUs > 4990 && time.expectedUs < 5100, `${time.expectedUs} us`);
});

void t.test('a size that has not run takes as long as a larger one, or grows with the size', async (t) => {
  const times = new BatchTimes();
  for (let n = 0; n < 100; n++) times.add(2, 1000);
  t.ok(Math.abs(times.expectedUs(8) - 4000) < 10, `${times.expectedUs(8)} us`);
  for (let n = 0; n < 100; n++) times.add(6, 1500);
  t.ok(Math.abs(times.expectedUs(4) - 1500) < 10);
  t.ok(Math.abs(times.expectedUs(8) - 2000) < 10);
  t.ok(Math.abs(times.expectedUs(1) - 1000) < 10);
});
