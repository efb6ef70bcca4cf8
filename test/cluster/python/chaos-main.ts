// `npm run chaos:python`: chaos on stages in Python. Invariant: the result goes to stdout, the progress to stderr and
// only on a terminal; 0: all held, 1: something did not, 2: wrong usage.
import { parseArgs } from 'node:util';
import { runProgram } from '../../program.js';
import { runPythonChaos } from './chaos.js';

const usage = `Usage: npm run chaos:python -- [options]

  --seed N      decides what is sent, and which blow comes after how many requests; default: by the clock
  --kills N     Python processes and keepers that are killed or stopped, 1 to 1000000; default 500
  --clients N   clients that send, 1 to 256; default 16
  --help        this text

A failure prints the command that runs its seed again.
`;

function readNumber(name: string, text: string | undefined, fallback: number, most: number): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && value <= most) return value;
  throw new RangeError(`--${name} must be a whole number, 1 to ${most}, not ${text}`);
}

function readOptions(): { seed: number; kills: number; clients: number } | undefined {
  const text = { type: 'string' } as const;
  const options = { seed: text, kills: text, clients: text, help: { type: 'boolean', default: false } } as const;
  const { values } = parseArgs({ options });
  if (values.help) return undefined;
  return {
    seed: readNumber('seed', values.seed, 1 + (Math.floor(Date.now() / 1000) % 1_000_000_000), 2 ** 32 - 1),
    kills: readNumber('kills', values.kills, 500, 1e6),
    clients: readNumber('clients', values.clients, 16, 256),
  };
}

async function main(): Promise<number> {
  const options = readOptions();
  if (options === undefined) {
    process.stdout.write(usage);
    return 0;
  }
  const isTerminal = process.stderr.isTTY === true;
  const onProgress = (ended: number, blows: number) => {
    if (isTerminal) process.stderr.write(`\r${ended} ended, ${blows} blows        `);
  };
  const summary = await runPythonChaos({ ...options, onProgress });
  if (isTerminal) process.stderr.write('\n');
  process.stdout.write(`${JSON.stringify({ schemaVersion: 1, test: 'python-chaos', ...summary })}\n`);
  return 0;
}

runProgram(main, usage);
