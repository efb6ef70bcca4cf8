import fc from 'fast-check';
import t from 'tap';
import { TicketMap } from '../../src/ts/pipeline/ticket-map.js';

type Step = { what: 'set' | 'delete'; ticket: number } | { what: 'clear' };

// Near each other, as tickets are, and such that lie in one place of any small table.
const tickets = fc.oneof(
  fc.nat(40),
  fc.nat(12).map((n) => n * 4096),
  fc.constantFrom(2 ** 32, 2 ** 32 + 16, 2 ** 52, Number.MAX_SAFE_INTEGER),
);
const steps = fc.array<Step>(
  fc.oneof(
    { weight: 30, arbitrary: fc.record({ what: fc.constantFrom('set' as const, 'delete' as const), ticket: tickets }) },
    { weight: 1, arbitrary: fc.constant({ what: 'clear' as const }) },
  ),
  { maxLength: 300 },
);

function check(map: TicketMap<string>, model: Map<number, string>, limit: number): void {
  if (map.size !== model.size) throw new Error(`${map.size} tickets instead of ${model.size}`);
  const known = [...model.keys()].sort((a, b) => a - b);
  for (const ticket of known) if (map.get(ticket) !== model.get(ticket)) throw new Error(`another value of ${ticket}`);
  const values = known.map((ticket) => model.get(ticket));
  if (map.list().join() !== values.join()) throw new Error('another list');
  const below = known.filter((ticket) => ticket < limit);
  if (map.below(limit).join() !== below.join()) throw new Error(`others below ${limit}`);
}

void t.test('it answers as a Map does, whatever is set and deleted in whatever order', (t) => {
  fc.assert(
    fc.property(steps, tickets, (list, limit) => {
      const map = new TicketMap<string>();
      const model = new Map<number, string>();
      list.forEach((step, i) => {
        if (step.what === 'clear') {
          map.clear();
          model.clear();
        } else if (step.what === 'set') {
          map.set(step.ticket, `value ${i}`);
          model.set(step.ticket, `value ${i}`);
        } else if (map.delete(step.ticket) !== model.delete(step.ticket)) throw new Error('one of them had it');
        check(map, model, limit);
        if (step.what !== 'clear' && map.has(step.ticket) !== model.has(step.ticket))
          throw new Error('only one has it');
      });
    }),
    { seed: 5, numRuns: 400 },
  );
  t.pass('400 histories');
  t.end();
});

void t.test('a hundred thousand requests, sixteen at a time, keep it small', (t) => {
  const map = new TicketMap<object>();
  for (let ticket = 1; ticket <= 100_000; ticket++) {
    map.set(ticket, {});
    if (ticket > 16) map.delete(ticket - 16);
  }
  t.equal(map.size, 16);
  t.same(map.below(99_990), [99_985, 99_986, 99_987, 99_988, 99_989]);
  t.end();
});
