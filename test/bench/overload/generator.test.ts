// Proves: the open loop sends what is due whatever becomes of earlier requests, and the closed loop counts answers.
import t from 'tap';
import type { Arrival } from '../../../src/ts/bench/overload/arrivals.js';
import { offer, saturate } from '../../../src/ts/bench/overload/generator.js';
import { overloadDefaults } from '../../../src/ts/bench/overload/settings.js';
import type { Call, Outcome, OverloadSubject } from '../../../src/ts/bench/overload/subject.js';

const settings = { ...overloadDefaults, deadlineMs: 2000 };
const due = (...at: number[]): Iterator<Arrival> => at.map((atMs) => ({ atMs, tenant: 'a' })).values();

class Told implements OverloadSubject {
  readonly calls: Call[] = [];
  private readonly answer: (call: Call, number: number) => Promise<Outcome>;

  constructor(answer: (call: Call, number: number) => Promise<Outcome>) {
    this.answer = answer;
  }

  call(call: Call): Promise<Outcome> {
    this.calls.push(call);
    return this.answer(call, this.calls.length - 1);
  }

  async close(): Promise<void> {}
}

void t.test('a request is sent when it is due, though none has ended before', async (t) => {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  // Nobody is answered before all three are there: who waits for answers never sends the third.
  const subject = new Told(async (_, number) => {
    if (number === 2) open();
    await opened;
    return { end: 'answered' };
  });
  const records = await offer({ subject, settings, arrivals: due(5, 10, 40) });
  t.strictSame(
    records.map(({ dueMs, end, tenant }) => [dueMs, end, tenant]),
    [
      [5, 'answered', 'a'],
      [10, 'answered', 'a'],
      [40, 'answered', 'a'],
    ],
  );
  for (const { sentMs, dueMs, endedMs } of records) t.ok(sentMs >= dueMs && endedMs >= 40);
  for (const { remainingMs, serviceMs } of subject.calls) {
    t.ok(remainingMs! <= 2000, 'the deadline runs from when it is due');
    t.equal(serviceMs.length, 3);
  }
});

void t.test('a call that blocks makes the next ones late, and that is recorded', async (t) => {
  const subject = new Told(async (_, number) => {
    const end = performance.now() + (number === 0 ? 60 : 0);
    while (performance.now() < end);
    return { end: 'answered' };
  });
  const records = await offer({ subject, settings, arrivals: due(1, 2) });
  const second = records.find(({ dueMs }) => dueMs === 2)!;
  t.ok(second.sentMs - second.dueMs > 50, `sent ${second.sentMs - second.dueMs} ms late`);
  t.ok(subject.calls[1]!.remainingMs! < 1950, 'what it has left is less by that');
});

void t.test('a refused request is sent again with its token, and is waited for', async (t) => {
  const subject = new Told(async (_, number) =>
    number === 0 ? { end: 'refused', retryAfterMs: 20, retryToken: 'x-1' } : { end: 'answered' },
  );
  const ends: string[] = [];
  const records = await offer({
    subject,
    settings,
    arrivals: due(1),
    onEnded: ({ end, isAgain }, again) => {
      ends.push(`${end} ${isAgain}`);
      return end === 'refused' ? again().then(() => {}) : undefined;
    },
  });
  t.strictSame(ends, ['refused false', 'answered true']);
  t.equal(records.length, 2);
  t.strictSame(
    subject.calls.map(({ retryToken, tenant }) => [retryToken, tenant]),
    [
      [undefined, 'a'],
      ['x-1', 'a'],
    ],
  );
});

void t.test('the closed loop has as many requests under way as clients, and fails when one fails', async (t) => {
  let [now, most] = [0, 0];
  const subject = new Told(async ({ remainingMs }) => {
    most = Math.max(most, ++now);
    await new Promise((resolve) => setTimeout(resolve, 5));
    now--;
    return remainingMs === undefined ? { end: 'answered' } : { end: 'failed' };
  });
  const perSecond = await saturate(subject, settings, 4, 20, 0.2);
  t.equal(most, 4);
  t.ok(perSecond > 0 && perSecond <= 800, `${perSecond} a second`);
  t.ok(perSecond * 0.2 <= subject.calls.length);
  const full = new Told(async (_, number) => ({ end: number < 5 ? 'refused' : 'answered' }));
  t.ok((await saturate(full, settings, 1, 0, 0.3)) > 0, 'who is refused comes again');
  const deaf = new Told(async () => ({ end: 'refused' }));
  await t.rejects(saturate(deaf, settings, 1, 0, 0.1), { code: 'RDMA_ERR_TIMEOUT' });
  const bad = new Told(async () => ({ end: 'failed', words: 'no' }));
  await t.rejects(saturate(bad, settings, 1, 0, 1), { code: 'RDMA_ERR_STAGE_FAILED', message: /no/ });
});
