// `npm run chaos`: chaos for as long as one likes. Invariant: the results go to stdout, the progress to stderr and only
// on a terminal; 0: all held, 1: something did not, 2: wrong usage.
import { parseArgs } from 'node:util';
import { runChaos } from './chaos.js';
import { churn } from './churn.js';

const usage = `Usage: npm run chaos -- [options]

  --seed N        decides what is sent, and who is hit, when and how; default: by the clock
  --seconds N     how long blows are dealt; default 60
  --producers N   processes that send, 1 to 64; default 8
  --between N     messages between two blows, on average; default 200
  --churn N       instead of all this: opens and closes N lanes, one after another
  --help          this text

A failure prints the command that runs its seed again.
`;

function readNumber(name: string, text: string | undefined, fallback: number, most: number): number {
  const value = text === undefined ? fallback : Number(text);
  if (!(value >= 1 && value <= most)) throw new RangeError(`--${name} must be 1 to ${most}, not ${text}`);
  return value;
}

async function main(): Promise<void> {
  let options: { seed: number; seconds: number; producers: number; messagesBetween: number; lanes: number };
  try {
    const { values } = parseArgs({
      options: {
        seed: { type: 'string' },
        seconds: { type: 'string' },
        producers: { type: 'string' },
        between: { type: 'string' },
        churn: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      process.stdout.write(usage);
      return;
    }
    options = {
      seed: readNumber('seed', values.seed, 1 + (Math.floor(Date.now() / 1000) % 1_000_000_000), 2 ** 32 - 1),
      seconds: readNumber('seconds', values.seconds, 60, 1e6),
      producers: readNumber('producers', values.producers, 8, 64),
      messagesBetween: readNumber('between', values.between, 200, 1e6),
      lanes: values.churn === undefined ? 0 : readNumber('churn', values.churn, 0, 1e9),
    };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${usage}`);
    process.exitCode = 2;
    return;
  }
  const isTerminal = process.stderr.isTTY === true;
  if (options.lanes > 0) {
    const result = await churn(options.lanes, (lanes) => {
      if (isTerminal) process.stderr.write(`\r${lanes} of ${options.lanes} lanes        `);
    });
    if (isTerminal) process.stderr.write('\n');
    process.stdout.write(`${JSON.stringify({ schemaVersion: 1, ...result })}\n`);
    return;
  }
  process.stdout.write(`seed ${options.seed}\n`);
  const summary = await runChaos({
    ...options,
    onProgress: (delivered, blows) => {
      if (isTerminal) process.stderr.write(`\r${delivered} delivered, ${blows} blows        `);
    },
  });
  if (isTerminal) process.stderr.write('\n');
  process.stdout.write(`${JSON.stringify({ schemaVersion: 1, ...summary })}\n`);
}

main().catch((error: Error) => {
  process.stdout.write(`${error.message}\n`);
  process.exitCode = 1;
});
