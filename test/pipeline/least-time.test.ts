// Proves that a stage calls hopeless only what many tasks were too slow for.
import t from 'tap';
import { LeastTime } from '../../src/ts/pipeline/least-time.js';

void t.test('it is not known before many samples, and then the least of the last ones', async (t) => {
  const least = new LeastTime();
  for (let i = 0; i < 31; i++) {
    least.add(50);
    t.equal(least.us, 0, `${i + 1} samples`);
  }
  least.add(50);
  t.equal(least.us, 50);
  least.add(20);
  t.equal(least.us, 20, 'at once');
  for (let i = 0; i < 64; i++) least.add(80);
  t.equal(least.us, 80, 'a faster time is forgotten');
});
