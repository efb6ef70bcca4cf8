// Proves that each event of a request is reported once, in order, up to a limit, and in names that people know.
import fc from 'fast-check';
import t from 'tap';
import { MAX_TRACE_BYTES } from '../../src/ts/pipeline/envelope.js';
import { checkSpec } from '../../src/ts/pipeline/spec.js';
import { readTrace, TraceRecords } from '../../src/ts/pipeline/trace.js';

const spec = checkSpec({ name: 'flow', stages: [{ name: 'a' }, { name: 'b', after: ['a'] }] });
const RECORD_BYTES = 24;

void t.test('tasks and hops are read as they were added', async (t) => {
  const records = new TraceRecords();
  t.equal(records.encoded.length, 0);
  records.addHop(-1, 2, 0, 7, 2 ** 40, 12.5);
  records.addTask(0, 7, 1.5, 250.25);
  records.addHop(0, 7, 1, 0, 64, -1);
  records.addHop(1, 0, -1, 2, 64, 0);
  t.same(readTrace(spec, records.encoded), {
    tasks: [{ stage: 'a', instance: 7, queueUs: 1.5, computeUs: 250.25 }],
    hops: [
      { from: 'request', fromInstance: 2, to: 'a', toInstance: 7, bytes: 2 ** 40, us: 12.5 },
      { from: 'a', fromInstance: 7, to: 'b', toInstance: 0, bytes: 64, us: undefined },
      { from: 'b', fromInstance: 0, to: 'result', toInstance: 2, bytes: 64, us: 0 },
    ],
  });
});

void t.test('records that came by several paths are reported once', async (t) => {
  const shared = new TraceRecords();
  shared.addTask(0, 0, 1, 2);
  shared.addHop(-1, 0, 0, 0, 5, 1);
  const left = new TraceRecords();
  left.addAll(shared.encoded);
  left.addTask(1, 0, 3, 4);
  const right = new TraceRecords();
  right.addAll(shared.encoded);
  right.addTask(1, 1, 5, 6);
  const all = new TraceRecords();
  all.addAll(left.encoded);
  all.addAll(right.encoded);
  all.addAll(right.encoded);
  const { tasks, hops } = readTrace(spec, all.encoded);
  t.same(
    tasks.map(({ stage, instance }) => `${stage}/${instance}`),
    ['a/0', 'b/0', 'b/1'],
  );
  t.equal(hops.length, 1);
});

void t.test('more than a message may carry is left out, and the first are kept', async (t) => {
  const records = new TraceRecords();
  const most = MAX_TRACE_BYTES / RECORD_BYTES;
  for (let i = 0; i < most + 100; i++) records.addTask(i % 2, i, i, 0);
  t.equal(records.encoded.length, MAX_TRACE_BYTES);
  const { tasks } = readTrace(spec, records.encoded);
  t.equal(tasks.length, most);
  t.ok(tasks.every(({ instance, queueUs }, i) => instance === i && queueUs === i));
  const full = new TraceRecords();
  full.addAll(records.encoded);
  full.addHop(0, 0, 1, 0, 1, 1);
  t.equal(full.encoded.length, MAX_TRACE_BYTES);
});

void t.test('any bytes are read without an error, and name only what the workflow has', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
      const { tasks, hops } = readTrace(spec, noise);
      const names = new Set(['request', 'result', 'a', 'b']);
      if (!tasks.every(({ stage }) => names.has(stage))) throw new Error('a stage that does not exist');
      if (!hops.every(({ from, to }) => names.has(from) && names.has(to)))
        throw new Error('a place that does not exist');
      const records = new TraceRecords();
      records.addAll(noise);
      if (records.encoded.length > noise.length) throw new Error('more than there was');
    }),
    { seed: 51, numRuns: 1000 },
  );
  t.pass('1000 traces');
});
