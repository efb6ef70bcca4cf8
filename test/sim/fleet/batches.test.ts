// Proves what a batch gains by the figures of a profile, and which one is chosen.
import t from 'tap';
import { bestBatch, gainOf } from '../../../src/ts/planner/fleet/batches.js';

void t.test('a batch gains what the figures say, and between them in proportion', async (t) => {
  const gain = gainOf([
    [1, 1],
    [4, 2],
  ]);
  t.same([gain(1), gain(4), gain(8)], [1, 2, 2]);
  t.ok(gain(2) > 1 && gain(2) < 2);
  t.equal(gain(2), 2 / (1 + 1 / 3), 'two take a third of the way from 1 s to 2 s');
  t.equal(gainOf([[1, 5]])(3), 1, 'without figures of batches nothing is gained');
});

void t.test('the batch with the most tasks a second is taken, if that is more than chance', async (t) => {
  t.equal(bestBatch([[1, 3]]), 1);
  const sizes = [
    [1, 1],
    [2, 1.5],
    [4, 2.5],
    [8, 5.2],
  ] as const;
  t.equal(bestBatch(sizes), 4);
  t.equal(
    bestBatch([
      [1, 1],
      [2, 1.97],
    ]),
    1,
    '1.5 % more is chance',
  );
});
