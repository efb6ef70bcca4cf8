// `npm run sim`: many runs of the rings under the simulation, or one again.
//
// Invariant: prints what repeats each failure; exits with 1 when there was one, with 2 for a wrong command line.
import { parseArgs } from 'node:util';
import { ListedChoices, SeededChoices } from '../../src/ts/sim/choices.js';
import { SMALL_CASES } from './cases.js';
import { play, type Verdict } from './ring-run.js';
import { shapeOf } from './shape.js';

const usage = `Usage: npm run sim -- [options]

  --seed S        the first seed; default 1. Without --schedules and --minutes: this one run, with its story
  --schedules N   so many runs, with the seeds S, S + 1, ...
  --minutes M     ends after so long
  --case NAME     one of the small configurations, with
  --choices LIST  the choices that a failure has printed
  --json          one document
  --help          this text
`;

function wholeNumber(name: string, text: string | undefined, from: number): number | undefined {
  if (text === undefined) return undefined;
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= from && value <= Number.MAX_SAFE_INTEGER)) throw new RangeError(`--${name} takes a whole number`);
  return value;
}

function tell(replay: string, verdict: Verdict): void {
  const { broken, steps, virtualMs, deliveries, pulls, faults } = verdict;
  const lines = [
    `${broken.length === 0 ? 'ok' : 'FAILED'}: ${replay}: ${steps} steps, ${virtualMs.toFixed(3)} virtual ms, ${deliveries} deliveries, ${pulls} pulls`,
    ...faults.map((fault) => `  ${fault}`),
    ...broken.slice(0, 10).map((words) => `  ! ${words}`),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      schedules: { type: 'string' },
      minutes: { type: 'string' },
      case: { type: 'string' },
      choices: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
    return 0;
  }
  if (values.case !== undefined) {
    const small = SMALL_CASES.find(({ name }) => name === values.case);
    if (small === undefined) {
      throw new RangeError(`the small configurations are ${SMALL_CASES.map(({ name }) => name).join(', ')}`);
    }
    const choices = new ListedChoices(values.choices ?? 'none', small.limits);
    const verdict = await play(choices, small.shape);
    if (values.json)
      process.stdout.write(`${JSON.stringify({ schemaVersion: 1, replay: choices.replay, ...verdict })}\n`);
    else tell(`--case ${small.name} ${choices.replay}`, verdict);
    return verdict.broken.length === 0 ? 0 : 1;
  }
  const first = wholeNumber('seed', values.seed, 0) ?? 1;
  const minutes = wholeNumber('minutes', values.minutes, 1);
  const many = wholeNumber('schedules', values.schedules, 1) ?? (minutes === undefined ? 1 : Number.MAX_SAFE_INTEGER);
  const end = minutes === undefined ? Number.POSITIVE_INFINITY : performance.now() + minutes * 60_000;
  const failures: { replay: string; broken: string[] }[] = [];
  const sums = { schedules: 0, steps: 0, deliveries: 0, faults: 0 };
  const started = performance.now();
  for (let i = 0; i < many && performance.now() < end && first + i <= Number.MAX_SAFE_INTEGER; i++) {
    const choices = new SeededChoices(first + i);
    const verdict = await play(choices, shapeOf(first + i));
    sums.schedules++;
    sums.steps += verdict.steps;
    sums.deliveries += verdict.deliveries;
    sums.faults += verdict.faults.length;
    if (verdict.broken.length > 0) failures.push({ replay: choices.replay, broken: verdict.broken });
    if (!values.json && (many === 1 || (verdict.broken.length > 0 && failures.length <= 20)))
      tell(choices.replay, verdict);
    if (many === 1 && !values.json) process.stdout.write(`  ${JSON.stringify(shapeOf(first))}\n`);
  }
  const seconds = (performance.now() - started) / 1000;
  if (values.json)
    process.stdout.write(`${JSON.stringify({ schemaVersion: 1, firstSeed: first, ...sums, failures })}\n`);
  else {
    const { schedules, steps, deliveries, faults } = sums;
    process.stdout.write(
      `${schedules} schedules, ${failures.length} failed; ${steps} steps, ${deliveries} deliveries, ${faults} faults; ${seconds.toFixed(1)} s\n`,
    );
  }
  return failures.length === 0 ? 0 : 1;
}

// Who reads the output may stop reading it, as `head` does.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: Error & { code?: string }) => {
    const wrongUse = error instanceof RangeError || error.code?.startsWith('ERR_PARSE_ARGS');
    process.stderr.write(wrongUse ? `${error.message}\n\n${usage}` : `${error.stack}\n`);
    process.exitCode = wrongUse ? 2 : 1;
  },
);
