// Proves: enumeration visits every list of answers within its limits once, and a printed list brings the same answers.
import t from 'tap';
import { type Choices, EnumeratedChoices, ListedChoices, SeededChoices } from '../../src/ts/sim/choices.js';

/** A little program: what it does depends on what it was answered. */
function answers(choices: Choices): string {
  const said: number[] = [];
  const first = choices.pick(3, 'order');
  said.push(first);
  if (first === 2) said.push(choices.pick(2, 'fault'));
  said.push(choices.pick(1, 'order'), choices.pick(2, 'order'), choices.chance(0.1, 'tear') ? 1 : 0);
  return said.join('');
}

void t.test('every list within the limits comes once', async (t) => {
  const limits = { order: 1, tear: 1, fault: 1 };
  const choices = new EnumeratedChoices(limits);
  const seen: string[] = [];
  do {
    seen.push(answers(choices));
    const again = new ListedChoices(choices.replay.replace('--choices ', ''), limits);
    t.equal(answers(again), seen.at(-1));
  } while (choices.next());
  t.strictSame(seen, [...new Set(seen)]);
  t.strictSame(
    [...seen].sort(),
    ['0000', '0001', '0010', '0011', '1000', '1001', '20000', '20001', '21000', '21001'].sort(),
  );
});

void t.test('a program that is not determined by its choices is found out', async (t) => {
  const choices = new EnumeratedChoices({ order: 2, tear: 0, fault: 0 });
  choices.pick(2, 'order');
  choices.pick(3, 'order');
  t.ok(choices.next());
  choices.pick(2, 'order');
  t.throws(() => choices.pick(2, 'order'), /not determined/);
});

void t.test('seeds: the same one decides the same, neighbours differ, and all answers come', async (t) => {
  const draw = (seed: number) => {
    const choices = new SeededChoices(seed);
    return Array.from({ length: 20 }, () => choices.pick(10));
  };
  t.strictSame(draw(5), draw(5));
  t.not(draw(5).join(), draw(6).join());
  t.not(draw(5).join(), draw(5 + 2 ** 32).join());
  const counts = new Array<number>(10).fill(0);
  for (let seed = 0; seed < 5000; seed++) counts[new SeededChoices(seed).pick(10)]!++;
  t.ok(
    counts.every((count) => count > 400 && count < 600),
    counts.join(' '),
  );
  const delays = Array.from({ length: 1000 }, (_, i) => new SeededChoices(i).delay(1, 3));
  t.ok(delays.every((ms) => ms >= 1 && ms < 3));
});
