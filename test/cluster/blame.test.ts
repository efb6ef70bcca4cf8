// Proves who is blamed when a process ends: the guilty request after its last try, no neighbour, and nobody for what
// was done to the process; and, for any guilty requests among others, that every innocent one is answered.
import fc from 'fast-check';
import t from 'tap';
import { Blame, type BlameHost } from '../../src/ts/cluster/blame.js';
import type { Verdict } from '../../src/ts/cluster/place-watch.js';
import type { RdmaError, RequestAttempt, RunningTask } from '../../src/ts/pipeline/index.js';
import { Suspects } from '../../src/ts/pipeline/suspects.js';

const task = (ticket: number, attempt = 1): RunningTask => ({
  gateway: 0,
  gatewayRun: 10,
  ticket,
  attempt,
  sinceUs: 1,
});

class Gateway implements BlameHost {
  readonly open = new Set<number>();
  readonly tries = new Map<number, number>();
  readonly failures = new Map<number, RdmaError>();

  constructor(tickets: readonly number[]) {
    for (const ticket of tickets) this.open.add(ticket);
  }

  isUnderWay({ ticket }: RequestAttempt): boolean {
    return this.open.has(ticket);
  }

  countTry({ ticket }: RequestAttempt): number {
    this.tries.set(ticket, (this.tries.get(ticket) ?? 0) + 1);
    return this.tries.get(ticket)!;
  }

  failRequest({ ticket }: RequestAttempt, reason: RdmaError): void {
    this.open.delete(ticket);
    this.failures.set(ticket, reason);
  }
}

const death = (tasks: readonly RunningTask[], verdict?: Verdict, attempts = 3) => ({
  stage: 'a',
  attempts,
  tasks,
  verdict,
  reason: 'exit code 3',
});

const candidate = (ticket: number) => ({ ledger: { gateway: 0, gatewayRun: 10 }, ticket });

const tickets = (list: readonly RequestAttempt[]) => list.map(({ ticket }) => ticket);

void t.test('one that runs alone fails with its last try, with stage and reason', async (t) => {
  const gateway = new Gateway([1]);
  const blame = new Blame(gateway);
  for (let i = 0; i < 2; i++) {
    t.same(blame.died(death([task(1)])), { failed: [], isExcused: true });
    t.same(tickets(blame.suspects), [1]);
  }
  t.same(blame.died(death([task(1)])), { failed: ['a-0-1'], isExcused: true });
  t.match(gateway.failures.get(1), { code: 'RDMA_ERR_STAGE_FAILED', stage: 'a', message: /3 of 3 times.*exit code 3/ });
  t.same(tickets(blame.barred), [1], 'it is not run again');
  t.same(blame.suspects, []);
});

void t.test(
  'of several that ran, none fails, and all are suspects; whoever then ends a process alone is guilty',
  async (t) => {
    const gateway = new Gateway([1, 2, 3]);
    const blame = new Blame(gateway);
    t.same(blame.died(death([task(1), task(2), task(3)], undefined, 1)), { failed: [], isExcused: true });
    t.same(tickets(blame.suspects), [1, 2, 3]);
    gateway.open.delete(1); // it ran alone, and was answered
    t.same(blame.died(death([task(2)], undefined, 1)).failed, ['a-0-2']);
    t.same(tickets(blame.suspects), [3]);
  },
);

void t.test('a death without tasks is the fault of the place', async (t) => {
  t.same(new Blame(new Gateway([])).died(death([])), { failed: [], isExcused: false });
});

void t.test('a stop is no request’s fault but the place’s', async (t) => {
  const gateway = new Gateway([1]);
  const blame = new Blame(gateway);
  const verdict: Verdict = { kind: 'hang', words: 'it was stopped', task: undefined };
  for (let i = 0; i < 5; i++) t.same(blame.died(death([task(1)], verdict)), { failed: [], isExcused: false });
  t.same(gateway.tries.size, 0);
  t.same(blame.suspects, []);
});

void t.test('a task that takes too long fails at once, and its neighbours count no try', async (t) => {
  const gateway = new Gateway([1, 2]);
  const blame = new Blame(gateway);
  const verdict: Verdict = { kind: 'task-timeout', words: 'longer than 500 ms', task: task(2) };
  t.same(blame.died(death([task(1), task(2)], verdict)), { failed: ['a-0-2'], isExcused: true });
  t.match(gateway.failures.get(2), { code: 'RDMA_ERR_STAGE_FAILED', stage: 'a', message: /longer than 500 ms/ });
  t.same(gateway.tries.size, 0);
  t.same(tickets(blame.barred), [2]);
});

void t.test('a task that ended just before its process was ended for it does not fail', async (t) => {
  const gateway = new Gateway([1, 2]);
  const verdict: Verdict = { kind: 'task-timeout', words: 'longer than 500 ms', task: task(2) };
  t.same(new Blame(gateway).died(death([task(1)], verdict)).failed, []);
  t.same(gateway.failures.size, 0);
});

void t.test('what has ended at the gateway is barred, and the list of it is bounded', async (t) => {
  const blame = new Blame(new Gateway([]));
  for (let i = 1; i <= 5000; i++) blame.died(death([task(i)]));
  t.equal(blame.barred.length, 1024);
  t.equal(blame.barred.at(-1)?.ticket, 5000);
});

void t.test(
  'any guilty requests among others, at any concurrency: exactly these fail, after a bounded number of deaths',
  (t) => {
    fc.assert(
      fc.property(
        fc.array(fc.boolean(), { minLength: 1, maxLength: 24 }),
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: 1, max: 4 }),
        (guilty, concurrency, attempts) => {
          const gateway = new Gateway(guilty.map((_, i) => i));
          const blame = new Blame(gateway);
          let deaths = 0;
          // Each round is a process: it gets all that is open, in order, and learns which requests to run alone, and
          // which not at all.
          while (gateway.open.size > 0) {
            const suspects = new Suspects();
            suspects.set(blame.suspects);
            const barred = new Set(tickets(blame.barred));
            const waiting = [...gateway.open].filter((ticket) => !barred.has(ticket));
            const running: ReturnType<typeof candidate>[] = [];
            let isDead = false;
            while (!isDead && waiting.length + running.length > 0) {
              while (running.length < concurrency && waiting.length > 0) {
                const next = candidate(waiting[0]!);
                if (!suspects.mayBegin(next, running.length)) break;
                suspects.begins(next);
                waiting.shift();
                running.push(next);
              }
              if (running.length === 0) return false; // nobody can ever begin
              if (running.some(({ ticket }) => guilty[ticket])) {
                deaths++;
                blame.died(
                  death(
                    running.map(({ ticket }) => task(ticket)),
                    undefined,
                    attempts,
                  ),
                );
                isDead = true;
              } else {
                const [done] = running.splice(0, 1);
                suspects.ended(done!);
                gateway.open.delete(done!.ticket);
              }
            }
            if (deaths > 24 * (attempts + 1)) return false;
          }
          return guilty.every((isGuilty, ticket) => gateway.failures.has(ticket) === isGuilty);
        },
      ),
      { numRuns: 300 },
    );
    t.end();
  },
);
