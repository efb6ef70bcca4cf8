// Proves that batching is measured as it is: full batches, in the same closed loop as single tasks, and that it pays.
import t from 'tap';
import { measureBatch } from '../../../src/ts/bench/overload/batch.js';
import { costOf } from '../../../src/ts/bench/overload/batch-workflow.js';

void t.test('a batch of eight costs one and a half, and one task as much as without batches', async (t) => {
  t.equal(costOf(1), 1);
  t.equal(costOf(8), 1.5);
});

void t.test('batches are full under load, and do several times the work of single tasks', async (t) => {
  const result = await measureBatch({ work: 'sleep', taskMs: 20, durationMs: 1500 });
  t.ok(result.meanBatchSize > 7, `${result.meanBatchSize} tasks a batch`);
  t.ok(result.single > 10 && result.single < 51, `${result.single}/s`);
  // 5.33 is all there is. A busy machine delays batches and single tasks alike.
  t.ok(result.relative > 3 && result.relative < 6, `${result.relative} times`);
});
