// Invariant under test: a wait ends once, by what it waits for, its time-out or its signal, and leaves neither a timer
// nor a listener behind; it runs under any clock.
import { getEventListeners } from 'node:events';
import t from 'tap';
import {
  abortError,
  Deadline,
  pause,
  realTimers,
  type Timers,
  type Wait,
  watchDeadline,
  withDeadline,
} from '../../src/ts/core/deadline.js';
import { RdmaError } from '../../src/ts/core/errors.js';

/** Time that passes when the test says so. */
class ManualTimers implements Timers {
  private nowMs = 1000;
  readonly pending: { atMs: number; call: () => void }[] = [];

  now(): number {
    return this.nowMs;
  }

  after(ms: number, call: () => void): () => void {
    const timer = { atMs: this.nowMs + ms, call };
    this.pending.push(timer);
    return () => {
      const at = this.pending.indexOf(timer);
      if (at >= 0) this.pending.splice(at, 1);
    };
  }

  pass(ms: number): void {
    this.nowMs += ms;
    const due = this.pending.filter(({ atMs }) => atMs <= this.nowMs);
    for (const timer of due) {
      this.pending.splice(this.pending.indexOf(timer), 1);
      timer.call();
    }
  }
}

const listeners = (signal: AbortSignal) => getEventListeners(signal, 'abort').length;
const realTimersPending = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
const never = new Promise<never>(() => undefined);

async function failure(promise: Promise<unknown>): Promise<RdmaError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof RdmaError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

function setUp(): { timers: ManualTimers; abort: AbortController; wait: Wait; given: RdmaError[] } {
  const timers = new ManualTimers();
  const abort = new AbortController();
  const wait = { timeoutMs: 50, signal: abort.signal, timers, late: 'nobody came', aborted: 'waiting was aborted' };
  return { timers, abort, wait, given: [] };
}

void t.test('the time-out ends a wait, once and on time, and takes the listener back', async (t) => {
  const { timers, abort, wait, given } = setUp();
  watchDeadline(wait, (error) => given.push(error));
  t.equal(listeners(abort.signal), 1);
  timers.pass(49);
  t.equal(given.length, 0);
  timers.pass(1);
  t.equal(given.length, 1);
  t.match(given[0], { code: 'RDMA_ERR_TIMEOUT', message: 'RDMA_ERR_TIMEOUT: nobody came' });
  t.equal(listeners(abort.signal), 0);
  abort.abort();
  timers.pass(1000);
  t.equal(given.length, 1);
});

void t.test('the signal ends a wait, once, and takes the timer back', async (t) => {
  const { timers, abort, wait, given } = setUp();
  watchDeadline(wait, (error) => given.push(error));
  const reason = new Error('enough');
  abort.abort(reason);
  t.equal(given.length, 1);
  t.match(given[0], { code: 'RDMA_ERR_ABORTED', message: 'RDMA_ERR_ABORTED: waiting was aborted' });
  t.equal(given[0]?.cause, reason);
  t.equal(timers.pending.length, 0);
  t.equal(listeners(abort.signal), 0);
  timers.pass(1000);
  t.equal(given.length, 1);
});

void t.test('who leaves hears nothing more, and may leave twice', async (t) => {
  const { timers, abort, wait, given } = setUp();
  const leave = watchDeadline(wait, (error) => given.push(error));
  leave();
  t.equal(timers.pending.length, 0);
  t.equal(listeners(abort.signal), 0);
  leave();
  abort.abort();
  timers.pass(1000);
  t.equal(given.length, 0);
});

void t.test('a clock that still calls after its timer was cancelled ends nothing', async (t) => {
  const given: RdmaError[] = [];
  let call = () => {};
  const timers: Timers = {
    now: () => 0,
    after: (_, late) => {
      call = late;
      return () => {};
    },
  };
  watchDeadline({ timeoutMs: 1, timers, late: 'late' }, (error) => given.push(error))();
  call();
  t.equal(given.length, 0);
});

void t.test('without limits there is nothing to watch', async (t) => {
  const { timers } = setUp();
  const leave = watchDeadline({ timers, late: 'late' }, () => t.fail('not reached'));
  t.equal(timers.pending.length, 0);
  leave();
});

void t.test('a signal that is aborted already, and wrong limits, are refused before anything begins', async (t) => {
  const { timers, wait } = setUp();
  const refused = (change: Partial<Wait>) => () =>
    watchDeadline({ ...wait, ...change }, () => t.fail('it was refused')) as unknown;
  t.throws(refused({ signal: AbortSignal.abort() }), { code: 'RDMA_ERR_ABORTED' });
  for (const timeoutMs of [0, -1, 1.5, 2 ** 31, Number.NaN, '5' as never]) {
    t.throws(refused({ timeoutMs }), { code: 'RDMA_ERR_INVALID_ARGUMENT' }, String(timeoutMs));
  }
  t.throws(refused({ signal: {} as AbortSignal }), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  t.equal(timers.pending.length, 0);
});

void t.test('words may be made when they are needed, and may be the error itself', async (t) => {
  const { timers, wait, given } = setUp();
  let asked = 0;
  const late = () => `asked ${++asked} times`;
  watchDeadline({ ...wait, late }, (error) => given.push(error));
  t.equal(asked, 0);
  timers.pass(50);
  t.match(given[0], { code: 'RDMA_ERR_TIMEOUT', message: 'RDMA_ERR_TIMEOUT: asked 1 times' });
  const gone = new RdmaError('RDMA_ERR_PEER_GONE', 'it did not come back');
  watchDeadline({ ...wait, late: () => gone }, (error) => given.push(error));
  timers.pass(50);
  t.equal(given[1], gone);
  t.match(abortError(undefined), { code: 'RDMA_ERR_ABORTED', message: /the call was aborted/ });
});

void t.test('a promise within limits', async (t) => {
  const { timers, abort, wait } = setUp();
  let abandoned = 0;
  const abandon = () => abandoned++;
  t.equal(await withDeadline(Promise.resolve(5), wait, abandon), 5);
  t.equal((await failure(withDeadline(Promise.reject(new RdmaError('EX', 'y')), wait, abandon))).code, 'EX');
  t.equal(abandoned, 0, 'nobody abandons what has settled');
  t.equal(timers.pending.length, 0);
  t.equal(listeners(abort.signal), 0);

  const late = failure(withDeadline(never, wait, abandon));
  timers.pass(50);
  t.equal((await late).code, 'RDMA_ERR_TIMEOUT');
  t.equal(abandoned, 1);
  const aborted = failure(withDeadline(never, wait, abandon));
  abort.abort();
  t.equal((await aborted).code, 'RDMA_ERR_ABORTED');
  t.equal(abandoned, 2);
  // What fails later, after nobody waits any more, is no unhandled rejection: the test would end with it.
  const failing = new Promise<never>((_, reject) => setImmediate(reject, new Error('too late')));
  t.equal((await failure(withDeadline(failing, wait, abandon))).code, 'RDMA_ERR_ABORTED', 'aborted before');
  t.equal(abandoned, 3);
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(timers.pending.length, 0);
  t.equal(listeners(abort.signal), 0);
});

void t.test('a pause ends by time or by its signal, and rejects for neither', async (t) => {
  const { timers, abort } = setUp();
  let ended = 0;
  const first = pause(20, abort.signal, timers).then(() => ended++);
  timers.pass(19);
  await Promise.resolve();
  t.equal(ended, 0);
  timers.pass(1);
  await first;
  t.equal(listeners(abort.signal), 0);
  const second = pause(20, abort.signal, timers);
  abort.abort();
  await second;
  t.equal(timers.pending.length, 0);
  t.equal(listeners(abort.signal), 0);
  await pause(20, abort.signal, timers);
  t.equal(timers.pending.length, 0, 'aborted before');
  const started = performance.now();
  await pause(5);
  t.ok(performance.now() - started >= 4, 'in real time');
});

void t.test('a timer in the background does not keep the process alive', async (t) => {
  const before = realTimersPending();
  const calls: string[] = [];
  const cancelTimer = realTimers.after(1, () => calls.push('taken back'), true);
  realTimers.after(2, () => calls.push('background'), true);
  t.equal(realTimersPending(), before, 'neither is waited for');
  cancelTimer();
  const takeForegroundBack = realTimers.after(60_000, () => calls.push('foreground'));
  t.equal(realTimersPending(), before + 1, 'without it one is');
  takeForegroundBack();
  t.equal(realTimersPending(), before);
  await pause(20);
  t.strictSame(calls, ['background'], 'it still calls while something else runs');
});

void t.test('a deadline for several waits counts from its beginning', async (t) => {
  const { timers, abort } = setUp();
  const deadline = new Deadline({ timeoutMs: 100, signal: abort.signal }, 'connecting', timers);
  deadline.check();
  t.equal(deadline.leftMs(), 100);
  t.equal(deadline.leftMs(30), 30);
  timers.pass(60);
  t.equal(deadline.leftMs(), 40);
  t.equal(await deadline.wait(Promise.resolve(5)), 5);
  const late = failure(deadline.wait(never));
  timers.pass(40);
  t.match(await late, { code: 'RDMA_ERR_TIMEOUT', message: 'RDMA_ERR_TIMEOUT: connecting took more than 100 ms' });
  t.equal(deadline.leftMs(), 1, 'never less than a timer takes');
  t.throws(() => deadline.check(), { code: 'RDMA_ERR_TIMEOUT' });
  abort.abort();
  t.throws(() => deadline.check(), { code: 'RDMA_ERR_ABORTED', message: /connecting was aborted/ });
  t.throws(() => new Deadline({ timeoutMs: 0 }, 'x'), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  t.throws(() => new Deadline({ signal: 5 as never }, 'x'), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  t.equal(new Deadline({}, 'x', timers).leftMs(7), 7, 'without a time-out the most');
});

void t.test('a deadline leaves neither timer nor listener behind', async (t) => {
  const abort = new AbortController();
  const before = realTimersPending();
  const deadline = new Deadline({ timeoutMs: 20, signal: abort.signal }, 'waiting');
  t.equal(await deadline.wait(Promise.resolve(5)), 5);
  t.equal(realTimersPending(), before);
  let abandoned = 0;
  t.match(await failure(deadline.wait(never, () => abandoned++)), { code: 'RDMA_ERR_TIMEOUT' });
  t.equal(abandoned, 1);
  t.throws(() => deadline.check(), { code: 'RDMA_ERR_TIMEOUT' });
  const patient = new Deadline({ signal: abort.signal }, 'waiting');
  const waiting = failure(patient.wait(never, () => abandoned++));
  abort.abort();
  t.match(await waiting, { code: 'RDMA_ERR_ABORTED' });
  t.equal(abandoned, 2);
  t.equal(listeners(abort.signal), 0);
  t.equal(realTimersPending(), before);
  t.ok(realTimers.now() <= performance.now());
});
