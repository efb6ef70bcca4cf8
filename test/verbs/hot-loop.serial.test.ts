// Proves that the hot path makes no objects: ten million WRITEs, posted and polled, leave the JavaScript heap as it was
// and cause next to no collections.
import { PerformanceObserver } from 'node:perf_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { CompletionStatus, SendFlags } from '../../src/ts/verbs/index.js';
import { openPair } from './support.js';

const count = 10_000_000;
/** Less than a byte each: ten million objects of the smallest kind would be 120 MB or more. */
const allowedBytes = count * 0.8;
/** What 100 000 WRITEs may leave behind when they are compiled: less than a byte each. */
const steadyBytes = 64 << 10;

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

// Until the code is compiled: unoptimized code boxes numbers, and how soon the compiler comes depends on the machine.
async function warmUp(pair: ReturnType<typeof openPair>, batch: number): Promise<void> {
  for (let round = 0, steady = 0; round < 40 && steady < 3; round++) {
    const before = process.memoryUsage().heapUsed;
    writeMany(pair, 100_000, batch);
    steady = Math.abs(process.memoryUsage().heapUsed - before) < steadyBytes ? steady + 1 : 0;
    await turn();
  }
}

for (const batch of [64, 1]) {
  void t.test(`ten million WRITEs, ${batch} at a time, allocate next to nothing`, async (t) => {
    using pair = openPair();
    await warmUp(pair, batch);
    let collections = 0;
    const observer = new PerformanceObserver((list) => {
      collections += list.getEntries().length;
    });
    observer.observe({ entryTypes: ['gc'] });
    await turn();
    const before = process.memoryUsage().heapUsed;
    const started = performance.now();
    const good = writeMany(pair, count, batch);
    const took = performance.now() - started;
    const grown = process.memoryUsage().heapUsed - before;
    await turn();
    await turn();
    observer.disconnect();
    t.equal(good, count);
    t.ok(grown < allowedBytes, `the heap grew by ${grown} bytes`);
    t.ok(collections <= 3, `${collections} collections`);
    t.comment(`${((took * 1e6) / count).toFixed(0)} ns each`);
  });
}
