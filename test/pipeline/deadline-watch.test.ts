// Proves when a request with a deadline ends: when its time is over, and while it waits, when it is hopeless.
import t from 'tap';
import { watchDeadline } from '../../src/ts/pipeline/deadline-watch.js';
import type { RdmaError } from '../../src/ts/pipeline/index.js';
import type { Ticket } from '../../src/ts/pipeline/ticket.js';

// A request that came at 0 and has 100 ms; what is set to go off, and what the keeper is asked.
function world(number: number, aloneMs: number, isHopeless = false) {
  const timers: { ms: number; call: () => void; stopped: boolean }[] = [];
  const asked: string[] = [];
  let nowUs = 0;
  const after = (ms: number, call: () => void) => {
    const timer = { ms, call, stopped: false };
    timers.push(timer);
    return () => {
      timer.stopped = true;
    };
  };
  const keeper = {
    cancel: (_: Ticket, { code, message }: RdmaError) => {
      asked.push(`${code}${message.includes('no result within 100 ms') ? ' of 100 ms' : ''}`);
    },
    endHopeless: () => {
      asked.push('endHopeless');
      return isHopeless;
    },
    learnLate: (_: Ticket, leastUs: number) => void asked.push(`learnLate ${leastUs}`),
  };
  const ticket = { number, deadlineUs: 100_000, queuedAtUs: 0 } as Ticket;
  const stop = watchDeadline(ticket, { nowUs: () => nowUs, clock: { now: () => 0, after } }, keeper, 100, aloneMs);
  // Time goes on until the newest timer goes off.
  const fire = () => {
    const { ms, call } = timers.at(-1)!;
    nowUs += ms * 1000;
    call();
  };
  return { timers, asked, stop, fire };
}
const LATE = ['learnLate 100000', 'RDMA_ERR_DEADLINE of 100 ms'];

void t.test('one that is under way, or whose time alone is not known or short, ends at its deadline', async (t) => {
  for (const [number, aloneMs] of [
    [1, 30],
    [0, Number.NaN],
    [0, 0.5],
    [0, 100],
  ] as const) {
    const { timers, asked, fire } = world(number, aloneMs);
    t.equal(timers.at(-1)!.ms, 100);
    fire();
    t.same(asked, LATE);
    t.equal(timers.length, 1);
  }
});

void t.test('one that waits is looked at when it would be late even alone', async (t) => {
  const hopeless = world(0, 30, true);
  t.equal(hopeless.timers.at(-1)!.ms, 70);
  hopeless.fire();
  t.same(hopeless.asked, ['endHopeless']);
  t.equal(hopeless.timers.length, 1);
  const other = world(0, 30);
  other.fire();
  t.equal(other.timers.at(-1)!.ms, 30, 'the rest of its time');
  other.fire();
  t.same(other.asked, ['endHopeless', ...LATE]);
});

void t.test('a watch that is ended stops the timer that runs', async (t) => {
  const { timers, stop, fire } = world(0, 30);
  fire();
  stop();
  t.same(
    timers.map(({ stopped }) => stopped),
    [false, true],
  );
});
