// Proves that rings lose, tear and repeat nothing between real processes that are killed, stopped, fenced, drained and
// started again at random: see chaos.ts. The bounded part of `npm run chaos`.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { runChaos } from './chaos.js';
import { judge, Ledger, What } from './chaos-ledger.js';
import { howSent, planBlow } from './chaos-plan.js';

/** Another one in each run, so that the runs of a year see more than those of a day; a failure names it. */
const seed = 1 + (Math.floor(Date.now() / 1000) % 1_000_000_000);

type Step = readonly [what: keyof typeof What, sequence: number];

/** What the check says of one producer, and of consumers that wrote these records. */
function judged(producer: readonly Step[], ...consumers: readonly (readonly Step[])[]): string[] {
  const folder = mkdtempSync(path.join(tmpdir(), 'onepiece-chaos-'));
  try {
    const write = (name: string, steps: readonly Step[]) => {
      const ledger = new Ledger(folder, name);
      for (const [what, sequence] of steps) ledger.write(What[what], 3, 0, sequence, 99);
      ledger.close();
    };
    write('producer-3-0', producer);
    for (const [i, steps] of consumers.entries()) write(`consumer-${i}`, steps);
    return judge(folder, 1).problems;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

void t.test('the check finds what it looks for', async (t) => {
  // The first messages of this producer that are sent at all.
  const sent = Array.from({ length: 20 }, (_, i) => i + 1).filter((i) => howSent(1, 3, 0, i) !== 'abort');
  const [a = 0, b = 0, c = 0] = sent;
  const intents: Step[] = Array.from({ length: c }, (_, i) => ['INTENT', i + 1]);
  const got = (...sequences: number[]): Step[] =>
    sequences.flatMap((i): Step[] => [
      ['ARRIVED', i],
      ['WHOLE', i],
    ]);
  t.same(judged([...intents, ['ACKNOWLEDGED', c], ['FINISHED', c]], got(a, b, c)), []);
  t.same(judged([...intents, ['ACKNOWLEDGED', b]], got(a, b), got(b, c)), [], 'a second consumer gets some again');
  t.same(
    judged([...intents, ['ACKNOWLEDGED', a]], got(a)),
    [],
    'what is not acknowledged may be lost with its producer',
  );
  t.match(judged([...intents, ['ACKNOWLEDGED', b]], got(a)), [/is acknowledged .* and was not delivered/]);
  t.match(judged([...intents, ['ACKNOWLEDGED', b]], [...got(a), ['ARRIVED', b]]), [/was not delivered/], 'not whole');
  t.match(judged(intents, got(a, c)), [/after/], 'one left out');
  t.match(judged(intents, got(a, b, b)), [/after/, /twice/]);
  t.match(judged(intents, got(a), got(c)), [/came first/], 'one left out between two consumers');
  t.match(judged(intents.slice(0, a), got(a, b)), [/never sent/, /never sent/]);
  t.match(judged(intents, [...got(a), ['WRONG', a]]), [/is not what was sent/]);
  t.match(judged([...intents, ['ACKNOWLEDGED', b], ['FINISHED', c]], got(a, b)), [/has finished with/]);
});

void t.test('a seed chooses the same blows each time, and seeds choose all of them', async (t) => {
  t.same(planBlow(7, 3, 8, 100), planBlow(7, 3, 8, 100));
  const blows = Array.from({ length: 400 }, (_, n) => planBlow(5, n, 8, 100));
  const kinds = new Set(blows.map(({ victim, fault }) => `${victim < 0} ${fault}`));
  t.equal(kinds.size, 8, [...kinds].join(', '));
  t.equal(new Set(blows.map(({ victim }) => victim)).size, 9);
});

void t.test(
  'whoever is killed, stopped, fenced or drained: nothing is lost, torn, repeated or left behind',
  async (t) => {
    const summary = await runChaos({ seed, seconds: 20, producers: 8, messagesBetween: 200 });
    t.comment(JSON.stringify(summary));
    t.ok(summary.acknowledged > 100 && summary.consumers > 1 && summary.producers > 8, JSON.stringify(summary.blows));
  },
);
