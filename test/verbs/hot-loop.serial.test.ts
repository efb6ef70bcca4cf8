// Proves that the hot path makes no objects: ten million WRITEs, posted and polled, cause not one collection, by the
// garbage collector's own events, and leave the JavaScript heap as it was.
import t from 'tap';
import { CompletionStatus, SendFlags } from '../../src/ts/verbs/index.js';
import { garbageOf, READING_BYTES, warmUp } from '../garbage.js';
import { openPair } from './support.js';

const COUNT = 10_000_000;

/** Posts and polls `count` WRITEs in batches; answers how many completions said success. */
function writeMany({ a, b }: ReturnType<typeof openPair>, count: number, batch: number): number {
  const { qp, cq, mr } = a;
  const { SIGNALED } = SendFlags;
  const { SUCCESS } = CompletionStatus;
  let good = 0;
  for (let posted = 0; posted < count; posted += batch) {
    for (let i = 0; i < batch; i++) {
      qp.sends.write(i, posted + i, SIGNALED, b.mr.address + i * 64, b.mr.rkey, mr.address, 64, mr.lkey);
    }
    qp.postSend(batch);
    for (let left = batch; left > 0; ) {
      const n = cq.poll();
      for (let i = 0; i < n; i++) if (cq.completions.status(i) === SUCCESS) good++;
      left -= n;
    }
  }
  return good;
}

for (const batch of [64, 1]) {
  void t.test(`ten million WRITEs, ${batch} at a time, cause no collection and leave the heap as it was`, async (t) => {
    using pair = openPair();
    await warmUp(() => writeMany(pair, 100_000, batch));
    let good = 0;
    const { collections, grownBytes, medianBytes, ms } = await garbageOf(() => {
      good += writeMany(pair, COUNT / 10, batch);
    });
    t.equal(good, COUNT);
    t.same(collections, [], 'collections in the loop');
    t.ok(medianBytes < READING_BYTES, `the heap grew by ${grownBytes.join(' ')} bytes`);
    t.comment(`${((ms * 1e6) / COUNT).toFixed(0)} ns each, ${medianBytes} bytes`);
  });
}
