// Proves: a suspect runs alone, and everybody else as before.
import fc from 'fast-check';
import t from 'tap';
import { Suspects } from '../../src/ts/pipeline/suspects.js';

const task = (ticket: number, gatewayRun = 1) => ({ ledger: { gateway: 0, gatewayRun }, ticket });
const request = (ticket: number, gatewayRun = 1) => ({ gateway: 0, gatewayRun, ticket, attempt: 1 });

void t.test('without suspects nobody waits', (t) => {
  const suspects = new Suspects();
  for (const running of [0, 1, 63]) t.ok(suspects.mayBegin(task(1), running));
  t.end();
});

void t.test('a suspect waits until nothing runs, and nothing begins beside it', (t) => {
  const suspects = new Suspects();
  suspects.set([request(5)]);
  t.notOk(suspects.mayBegin(task(5), 1));
  t.ok(suspects.mayBegin(task(6), 1));
  t.ok(suspects.mayBegin(task(5, 2), 1), 'of another run of the gateway');
  const five = task(5);
  t.ok(suspects.mayBegin(five, 0));
  suspects.begins(five);
  t.notOk(suspects.mayBegin(task(6), 1));
  suspects.set([]);
  t.notOk(suspects.mayBegin(task(6), 1), 'it still runs');
  suspects.ended(task(5));
  t.notOk(suspects.mayBegin(task(6), 1), 'another task of that request has ended');
  suspects.ended(five);
  t.ok(suspects.mayBegin(task(6), 0));
  t.end();
});

void t.test('whatever begins and ends: never a suspect beside another task, and all get their turn', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.boolean(), { minLength: 1, maxLength: 30 }),
      fc.infiniteStream(fc.nat()),
      (guilty, picks) => {
        const suspects = new Suspects();
        suspects.set(guilty.flatMap((isSuspect, ticket) => (isSuspect ? [request(ticket)] : [])));
        const waiting = guilty.map((_, ticket) => task(ticket));
        const running: ReturnType<typeof task>[] = [];
        for (let steps = 0; waiting.length + running.length > 0; steps++) {
          if (steps > 200) return false;
          while (running.length < 4 && waiting.length > 0 && suspects.mayBegin(waiting[0]!, running.length)) {
            const next = waiting.shift()!;
            suspects.begins(next);
            running.push(next);
          }
          if (running.length > 1 && running.some(({ ticket }) => guilty[ticket])) return false;
          if (running.length === 0) return false; // nobody can ever begin
          const [ended] = running.splice(picks.next().value % running.length, 1);
          suspects.ended(ended!);
        }
        return true;
      },
    ),
    { numRuns: 300 },
  );
  t.end();
});
