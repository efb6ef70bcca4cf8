// `npm run soak`: fault rounds for as long as one likes. Invariant: the results go to stdout, the progress to stderr
// and only on a terminal; 0: all rounds held, 1: one did not, 2: wrong usage.
import { parseArgs } from 'node:util';
import { runRounds } from './fault-rounds.js';

const usage = `Usage: npm run soak -- [options]

  --seed N       of the first round, each next one has the next; default: by the clock
  --rounds N     how many at most; default 500
  --minutes N    ends after the round in which this time has passed; default: no limit
  --help         this text

A failure prints the command that runs its round again.
`;

function readNumber(text: string | undefined, fallback: number): number {
  const value = text === undefined ? fallback : Number(text);
  if (!(value >= 0)) throw new RangeError(`${text} is no number`);
  return value;
}

async function main(): Promise<void> {
  let options: { seed: number; rounds: number; minutes: number };
  try {
    const { values } = parseArgs({
      options: {
        seed: { type: 'string' },
        rounds: { type: 'string' },
        minutes: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      process.stdout.write(usage);
      return;
    }
    options = {
      seed: readNumber(values.seed, Math.floor(Date.now() / 1000) % 1_000_000_000),
      rounds: readNumber(values.rounds, 500),
      minutes: readNumber(values.minutes, Infinity),
    };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${usage}`);
    process.exitCode = 2;
    return;
  }
  const isTerminal = process.stderr.isTTY === true;
  process.stdout.write(`seed ${options.seed}\n`);
  const summary = await runRounds({
    ...options,
    onRound: ({ seed, fault }, { rounds }) => {
      if (isTerminal) process.stderr.write(`\r${rounds} of ${options.rounds}, seed ${seed}: ${fault}        `);
    },
  });
  if (isTerminal) process.stderr.write('\n');
  process.stdout.write(`${JSON.stringify({ schemaVersion: 1, seed: options.seed, ...summary })}\n`);
}

main().catch((error: Error) => {
  process.stdout.write(`${error.message}\n`);
  process.exitCode = 1;
});
