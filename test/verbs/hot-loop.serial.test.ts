// Proves that the hot path makes no objects: ten million WRITEs, posted and polled, cause not one collection, by the
// garbage collector's own events, and leave the JavaScript heap as it was.
import { PerformanceObserver } from 'node:perf_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { CompletionStatus, SendFlags } from '../../src/ts/verbs/index.js';
import { openPair } from './support.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const count = 10_000_000;
/**
 * What is left as noise: reading the heap's size makes objects itself (about 1 KiB), and a function of the loop that is
 * compiled again meanwhile leaves some KiB. One object of the smallest kind (12 bytes) for a thousand WRITEs would be
 * 120 KB.
 */
const noiseBytes = 64 << 10;

const heapBytes = () => getHeapStatistics().used_heap_size;

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
  for (let round = 0, steady = 0; round < 60 && steady < 5; round++) {
    collect();
    const before = heapBytes();
    writeMany(pair, 100_000, batch);
    steady = heapBytes() - before < 4096 ? steady + 1 : 0;
    await turn();
  }
}

for (const batch of [64, 1]) {
  void t.test(`ten million WRITEs, ${batch} at a time, cause no collection and leave the heap as it was`, async (t) => {
    using pair = openPair();
    await warmUp(pair, batch);
    const collections: number[] = [];
    const observer = new PerformanceObserver((list) => {
      for (const { startTime } of list.getEntries()) collections.push(startTime);
    });
    observer.observe({ entryTypes: ['gc'] });
    // Seen to work, and the young generation is empty: a collection in the loop would be the loop's own.
    collect();
    await turn();
    await turn();
    t.ok(collections.length > 0, 'the observer hears of collections');
    const before = heapBytes();
    const started = performance.now();
    const good = writeMany(pair, count, batch);
    const ended = performance.now();
    const grown = heapBytes() - before;
    await turn();
    await turn();
    observer.disconnect();
    t.equal(good, count);
    t.same(
      collections.filter((at) => at >= started && at <= ended),
      [],
      'collections in the loop',
    );
    t.ok(grown < noiseBytes, `the heap grew by ${grown} bytes`);
    t.comment(`${(((ended - started) * 1e6) / count).toFixed(0)} ns each, ${grown} bytes`);
  });
}
