// Proves the books of both sides against naive models: what was acknowledged, what is retained and where, who waits.
import fc from 'fast-check';
import t from 'tap';
import { alignedLength } from '../../src/ts/ring/layout.js';
import { Home, RetainedMessages } from '../../src/ts/ring/retained-messages.js';
import { ProducerProgress } from '../../src/ts/ring/producer-progress.js';
import { systemPort } from '../../src/ts/ring/system-port.js';
import { WaitList } from '../../src/ts/ring/wait-list.js';
import type { MemoryRegion } from '../../src/ts/verbs/index.js';
import { codeOf, content, hasContent } from './support.js';

void t.test('acknowledgements in any order: the watermark is the longest complete prefix', async (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }),
      fc.nat(1000),
      fc.array(fc.tuple(fc.boolean(), fc.integer({ min: -2, max: 11 })), { maxLength: 200 }),
      (window, begin, steps) => {
        const progress = new ProducerProgress('p', 'n', window, begin);
        const done = new Set<number>();
        let watermark = begin;
        for (const [deliver, ahead] of steps) {
          if (deliver) {
            if (progress.full !== progress.delivered - watermark >= window) return false;
            if (!progress.full) progress.delivered++;
            continue;
          }
          const sequence = watermark + ahead;
          if (sequence > begin && sequence <= progress.delivered) done.add(sequence);
          const before = watermark;
          while (done.has(watermark + 1)) watermark++;
          if (progress.acknowledge(sequence) !== watermark > before) return false;
          if (progress.acknowledged !== watermark || watermark > progress.delivered) return false;
        }
        return true;
      },
    ),
    { numRuns: 1000 },
  );
  t.pass('1000 histories agree with the definition');
});

function retainedIn(bytes: number, capacity: number): RetainedMessages {
  const memory = { buffer: new ArrayBuffer(bytes), address: 2 ** 20, lkey: 1 } as unknown as MemoryRegion;
  return new RetainedMessages(memory, bytes, capacity);
}

void t.test('what is retained keeps its place and its bytes until it is acknowledged', async (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 16 }),
      fc.integer({ min: 1, max: 6 }),
      fc.array(fc.tuple(fc.boolean(), fc.nat(1000)), { maxLength: 120 }),
      (units, capacity, steps) => {
        const bytes = units * 64;
        const retained = retainedIn(bytes, capacity);
        const view = new Uint8Array(retained.memory.buffer);
        const held: { sequence: number; length: number; at: number }[] = [];
        let last = 0;
        for (const [acknowledge, number] of steps) {
          if (acknowledge) {
            const upTo = retained.acknowledged + (number % 4);
            const count = upTo > last ? 0 : upTo - retained.acknowledged;
            if (retained.acknowledge(upTo) !== count) return false;
            held.splice(0, count);
          } else {
            const length = Math.round((number / 1000) * bytes);
            if (!retained.fits(length)) {
              if (held.length === 0) return false; // everything fits when nothing is held
              continue;
            }
            const sequence = retained.begin(length, Home.RETAINED, 0);
            if (sequence !== ++last || held.length >= capacity) return false;
            const half = length >> 1;
            const whole = content(sequence, length);
            retained.fill(sequence, 0, whole.subarray(0, half));
            retained.fill(sequence, half, whole.subarray(half));
            held.push({ sequence, length, at: retained.offsetOf(sequence) });
          }
          if (retained.count !== held.length) return false;
          for (const { sequence, length, at } of held) {
            if (retained.offsetOf(sequence) !== at || retained.lengthOf(sequence) !== length) return false;
            if (at < 0 || at + alignedLength(length) > view.length || at % 64 !== 0) return false;
            if (!hasContent(view.subarray(at, at + length), sequence)) return false;
          }
        }
        return true;
      },
    ),
    { numRuns: 500 },
  );
  t.pass('500 histories: every message keeps its bytes');
});

void t.test('waiters are served in their order, each once, and one that left is never tried again', async (t) => {
  const list = new WaitList(systemPort.clock);
  let room = 0;
  const tried: string[] = [];
  const wait = (name: string, need: number, signal?: AbortSignal, timeoutMs?: number) => {
    const attempt = () => {
      tried.push(name);
      if (room < need) return 0;
      room -= need;
      return need;
    };
    return list.wait(attempt, timeoutMs, signal, name);
  };
  const leaver = new AbortController();
  const big = wait('big', 5);
  const left = codeOf(wait('left', 1, leaver.signal));
  const small = wait('small', 1);
  room = 4;
  list.wake();
  t.strictSame(tried, ['big'], 'the small one does not overtake');
  leaver.abort();
  t.equal(await left, 'RDMA_ERR_ABORTED');
  room = 6;
  list.wake();
  t.equal(await big, 5);
  t.equal(await small, 1);
  t.notOk(tried.includes('left'));
  t.equal(list.length, 0);

  const first = codeOf(wait('first', 1, undefined, 1));
  const second = wait('second', 1);
  t.equal(await first, 'RDMA_ERR_TIMEOUT');
  room = 1;
  list.wake();
  t.equal(await second, 1, 'the next one is served');
  t.equal(await codeOf(wait('early', 1, AbortSignal.abort())), 'RDMA_ERR_ABORTED', 'aborted before');
  t.throws(() => wait('nonsense', 1, undefined, 0), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  const rejected = codeOf(wait('never', 99));
  list.reject(Object.assign(new Error('over'), { code: 'OVER' }));
  t.equal(await rejected, 'OVER');
});

void t.test('an attempt that makes another waiter leave is not made twice, and nobody is forgotten', async (t) => {
  const list = new WaitList(systemPort.clock);
  const leaver = new AbortController();
  let made = 0;
  const one = list.wait(
    () => {
      made++;
      leaver.abort();
      list.wake();
      return made;
    },
    undefined,
    undefined,
    'one',
  );
  const gone = codeOf(list.wait(() => 1, undefined, leaver.signal, 'gone'));
  const last = list.wait(() => 7, undefined, undefined, 'last');
  list.wake();
  t.equal(await one, 1);
  t.equal(made, 1);
  t.equal(await gone, 'RDMA_ERR_ABORTED');
  t.equal(await last, 7);
});

void t.test('an attempt that throws ends its own waiting only', async (t) => {
  const list = new WaitList(systemPort.clock);
  const bad = codeOf(
    list.wait(
      () => {
        throw Object.assign(new Error('bad'), { code: 'BAD' });
      },
      undefined,
      undefined,
      'bad',
    ),
  );
  const good = list.wait(() => 3, undefined, undefined, 'good');
  const shy = list.wait(() => 0, undefined, undefined, 'shy');
  list.wake();
  t.equal(await bad, 'BAD');
  t.equal(await good, 3);
  t.equal(list.length, 1);
  list.reject(new Error('over'));
  await t.rejects(shy);
});
