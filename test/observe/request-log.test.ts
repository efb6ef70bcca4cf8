// Proves: requests are counted once by tenant and reason, whatever number of either there is, and the last ones are
// kept.
import t from 'tap';
import { OTHER, RequestLog } from '../../src/ts/observe/request-log.js';
import { RdmaError } from '../../src/ts/pipeline/index.js';
import { SPEC } from './support.js';

void t.test('outcomes follow from the code of the error', async (t) => {
  const log = new RequestLog(SPEC, 3, 8);
  log.done('a', 1000, 50, 'r-1', undefined);
  for (const code of [
    'REJECTED',
    'STORE_FULL',
    'DEADLINE',
    'ABORTED',
    'CANCELLED',
    'STAGE_FAILED',
    'CLOSED',
  ] as const) {
    log.failed('a', 1000, 5000, new RdmaError(`RDMA_ERR_${code}`, 'words', { stage: 'decode' }));
  }
  log.failed('b', 1000, 5000, 'no error at all');
  const { total, tenants, reasons, latency } = log.counts();
  t.strictSame(total, { done: 1, failed: 3, rejected: 2, late: 1, cancelled: 2 });
  t.equal(tenants.get('b')?.failed, 1);
  t.equal(latency.count, 1, 'of those that were done');
  t.match(
    reasons.find(({ code }) => code === 'RDMA_ERR_REJECTED'),
    { outcome: 'rejected', stage: 'decode', count: 1, lastAtMs: 1005 },
  );
  t.strictSame(
    log.recent(10).map(({ number, outcome }) => [number, outcome]),
    [
      [9, 'failed'],
      [8, 'failed'],
      [7, 'failed'],
      [1, 'done'],
    ],
  );
  t.match(log.recent(1), [{ number: 1 }]);
  t.match(log.recent(10)[0]?.error, { code: 'UNKNOWN', message: 'no error at all' });
});

void t.test('however many are refused, those that were done are seen, and the other way round', async (t) => {
  const numbers = (log: RequestLog, count: number) => log.recent(count).map(({ number }) => number);
  const refuse = (log: RequestLog) => log.failed('a', 0, 1, new RdmaError('RDMA_ERR_REJECTED', 'no'));
  const log = new RequestLog(SPEC, 6, 8);
  for (let i = 0; i < 4; i++) log.done('a', 0, 1, 'r', undefined);
  t.strictSame(numbers(log, 6), [4, 3, 2, 1], 'all have room');
  for (let i = 0; i < 20; i++) refuse(log);
  t.strictSame(numbers(log, 6), [24, 23, 22, 4, 3, 2]);
  for (let i = 0; i < 20; i++) log.done('a', 0, 1, 'r', undefined);
  t.strictSame(numbers(log, 6), [44, 43, 42, 24, 23, 22]);
  t.strictSame(numbers(log, 3), [44, 43, 24]);
  t.strictSame(numbers(new RequestLog(SPEC, 6, 8), 6), []);
});

void t.test('tenants and reasons beyond the limit of names are counted together', async (t) => {
  const log = new RequestLog(SPEC, 2, 3);
  for (let i = 0; i < 200; i++) {
    log.failed(`tenant-${i}`, 0, 1, new RdmaError(`E${i}`, 'x'.repeat(1000)));
  }
  const { tenants, reasons } = log.counts();
  t.strictSame([...tenants.keys()], ['tenant-0', 'tenant-1', 'tenant-2', OTHER]);
  t.equal(tenants.get(OTHER)?.failed, 197);
  t.ok(reasons.length <= 70, `${reasons.length}`);
  t.equal(
    reasons.reduce((sum, { count }) => sum + count, 0),
    200,
  );
  t.equal(reasons.find(({ code }) => code === OTHER)?.count, 200 - 64);
  t.ok(reasons.every(({ lastMessage }) => lastMessage.length <= 300));
});

void t.test('a trace becomes a timeline when somebody looks, once', async (t) => {
  const log = new RequestLog(SPEC, 2, 3);
  log.done('a', 0, 10, 'r', { tasks: [], hops: [] });
  const [first] = log.recent(1);
  t.equal(first?.timeline?.length, 1);
  t.equal(log.recent(1)[0], first);
});
