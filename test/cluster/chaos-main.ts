// `npm run chaos:pipeline`: chaos on a pipeline for as long as one likes. Invariant: the results go to stdout, the
// progress to stderr and only on a terminal; 0: all held, 1: something did not, 2: wrong usage.
import { parseArgs } from 'node:util';
import { runChaos } from './chaos.js';

const usage = `Usage: npm run chaos:pipeline -- [options]

  --seed N        decides what is sent, and which blows come after how many requests; default: by the clock
  --minutes M     how long, such as 0.5; default 5
  --clients N     clients that send, 1 to 256; default 24
  --between N     requests that end between two blows, on average; default 40
  --help          this text

A failure prints the command that runs its seed again.
`;

function readNumber(name: string, text: string | undefined, fallback: number, most: number, least = 1): number {
  const value = text === undefined ? fallback : Number(text);
  if (!(value >= least && value <= most)) throw new RangeError(`--${name} must be ${least} to ${most}, not ${text}`);
  return value;
}

function readOptions(): { seed: number; minutes: number; clients: number; between: number } | undefined {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    options: { seed: text, minutes: text, clients: text, between: text, help: { type: 'boolean', default: false } },
  });
  if (values.help) return undefined;
  const whole = { seed: values.seed, clients: values.clients, between: values.between };
  for (const [name, value] of Object.entries(whole)) {
    if (value !== undefined && !/^\d+$/.test(value))
      throw new RangeError(`--${name} must be a whole number, not ${value}`);
  }
  return {
    seed: readNumber('seed', values.seed, 1 + (Math.floor(Date.now() / 1000) % 1_000_000_000), 2 ** 32 - 1),
    minutes: readNumber('minutes', values.minutes, 5, 10_000, 0.01),
    clients: readNumber('clients', values.clients, 24, 256),
    between: readNumber('between', values.between, 40, 1e6),
  };
}

async function main(): Promise<void> {
  let options: ReturnType<typeof readOptions>;
  try {
    options = readOptions();
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${usage}`);
    process.exitCode = 2;
    return;
  }
  if (options === undefined) {
    process.stdout.write(usage);
    return;
  }
  const { seed, minutes, clients, between } = options;
  const isTerminal = process.stderr.isTTY === true;
  process.stdout.write(`seed ${seed}\n`);
  const summary = await runChaos({
    seed,
    clients,
    between,
    requests: 0,
    blows: 0,
    forMs: minutes * 60_000,
    onProgress: (ended, blows) => {
      if (isTerminal) process.stderr.write(`\r${ended} requests, ${blows} blows        `);
    },
  });
  if (isTerminal) process.stderr.write('\n');
  process.stdout.write(`${JSON.stringify({ schemaVersion: 1, ...summary })}\n`);
}

main().catch((error: Error) => {
  process.stdout.write(`${error.message}\n`);
  process.exitCode = 1;
});
