// `npm run sim`: many runs of the rings, or of whole pipelines, under the simulation, or one again.
//
// Invariant: prints what repeats each failure; exits with 1 when there was one, with 2 for a wrong command line.
import { parseArgs } from 'node:util';
import { type ChoiceLimits, type Choices, ListedChoices, SeededChoices } from '../../src/ts/sim/choices.js';
import { SMALL_CASES } from './cases.js';
import { type ClusterShape, clusterShapeOf, playCluster } from './cluster-run.js';
import { type ControlShape, controlShapeOf, playControl } from './control-run.js';
import { PIPELINE_CASES } from './pipeline-cases.js';
import { playPipeline } from './pipeline-run.js';
import { type PipelineShape, pipelineShapeOf } from './pipeline-shape.js';
import { play } from './ring-run.js';
import { type Shape, shapeOf } from './shape.js';
import { playVersions, type VersionShape, versionShapeOf } from './version-run.js';
import { runProgram } from '../program.js';

const usage = `Usage: npm run sim -- [options]

  --pipeline      whole pipelines; without it, rings
  --control       leaders, members and addresses over a store that fails
  --cluster       controllers, nodes and gateways over such a store
  --versions      versions of an app in such a cluster: deployed, taken back, rolled back
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

/** What the runs of rings and of pipelines have in common. */
interface Verdict {
  broken: string[];
  steps: number;
  virtualMs: number;
  faults: string[];
}

/** What is run. */
interface Subject {
  cases: readonly { name: string; shape: unknown; limits: ChoiceLimits }[];
  shapeOf: (seed: number) => unknown;
  play: (choices: Choices, shape: unknown) => Promise<Verdict>;
  /** Options of the command line that name it. */
  option: string;
}

const rings: Subject = {
  cases: SMALL_CASES,
  shapeOf,
  play: (choices, shape) => play(choices, shape as Shape),
  option: '',
};
const pipelines: Subject = {
  cases: Object.values(PIPELINE_CASES).flat(),
  shapeOf: pipelineShapeOf,
  play: (choices, shape) => playPipeline(choices, shape as PipelineShape),
  option: '--pipeline ',
};
const control: Subject = {
  cases: [],
  shapeOf: controlShapeOf,
  play: (choices, shape) => playControl(choices, shape as ControlShape),
  option: '--control ',
};

const cluster: Subject = {
  cases: [],
  shapeOf: clusterShapeOf,
  play: (choices, shape) => playCluster(choices, shape as ClusterShape),
  option: '--cluster ',
};

const versions: Subject = {
  cases: [],
  shapeOf: versionShapeOf,
  play: (choices, shape) => playVersions(choices, shape as VersionShape),
  option: '--versions ',
};

// What else a verdict counts, in words.
function counts({ broken, steps, virtualMs, faults, ...more }: Verdict): string {
  const words = Object.entries(more).map(
    ([name, value]) => `${typeof value === 'object' ? JSON.stringify(value) : value} ${name}`,
  );
  return [`${steps} steps`, `${virtualMs.toFixed(3)} virtual ms`, ...words].join(', ');
}

// Adds what a verdict counts to the sums of all runs.
function addCounts(sums: Record<string, number>, { virtualMs, ...verdict }: Verdict): void {
  sums.schedules = (sums.schedules ?? 0) + 1;
  for (const [name, value] of Object.entries({ ...verdict, faults: verdict.faults.length })) {
    if (typeof value === 'number') sums[name] = (sums[name] ?? 0) + value;
  }
}

function tell(replay: string, verdict: Verdict): void {
  const { broken, faults } = verdict;
  const lines = [
    `${broken.length === 0 ? 'ok' : 'FAILED'}: ${replay}: ${counts(verdict)}`,
    ...faults.map((fault) => `  ${fault}`),
    ...broken.slice(0, 30).map((words) => `  ! ${words}`),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      pipeline: { type: 'boolean', default: false },
      control: { type: 'boolean', default: false },
      cluster: { type: 'boolean', default: false },
      versions: { type: 'boolean', default: false },
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
  const named = { cluster, versions, control, pipeline: pipelines } as const;
  const subject = Object.entries(named).find(([name]) => values[name as keyof typeof named])?.[1] ?? rings;
  const { option } = subject;
  if (values.case !== undefined) {
    const small = subject.cases.find(({ name }) => name === values.case);
    if (small === undefined) {
      throw new RangeError(`the small configurations are ${subject.cases.map(({ name }) => name).join(', ')}`);
    }
    const choices = new ListedChoices(values.choices ?? 'none', small.limits);
    const verdict = await subject.play(choices, small.shape);
    if (values.json)
      process.stdout.write(`${JSON.stringify({ schemaVersion: 1, replay: choices.replay, ...verdict })}\n`);
    else tell(`${option}--case ${small.name} ${choices.replay}`, verdict);
    return verdict.broken.length === 0 ? 0 : 1;
  }
  const first = wholeNumber('seed', values.seed, 0) ?? 1;
  const minutes = wholeNumber('minutes', values.minutes, 1);
  const many = wholeNumber('schedules', values.schedules, 1) ?? (minutes === undefined ? 1 : Number.MAX_SAFE_INTEGER);
  const end = minutes === undefined ? Number.POSITIVE_INFINITY : performance.now() + minutes * 60_000;
  const failures: { replay: string; broken: string[] }[] = [];
  const sums: Record<string, number> = { schedules: 0 };
  const started = performance.now();
  for (let i = 0; i < many && performance.now() < end && first + i <= Number.MAX_SAFE_INTEGER; i++) {
    const choices = new SeededChoices(first + i);
    const verdict = await subject.play(choices, subject.shapeOf(first + i));
    addCounts(sums, verdict);
    if (verdict.broken.length > 0) failures.push({ replay: `${option}${choices.replay}`, broken: verdict.broken });
    if (!values.json && (many === 1 || (verdict.broken.length > 0 && failures.length <= 20)))
      tell(`${option}${choices.replay}`, verdict);
    if (many === 1 && !values.json) process.stdout.write(`  ${JSON.stringify(subject.shapeOf(first))}\n`);
  }
  const seconds = (performance.now() - started) / 1000;
  if (values.json)
    process.stdout.write(`${JSON.stringify({ schemaVersion: 1, firstSeed: first, ...sums, failures })}\n`);
  else {
    const words = Object.entries(sums).map(([name, count]) => `${count} ${name}`);
    process.stdout.write(`${words.join(', ')}; ${failures.length} failed; ${seconds.toFixed(1)} s\n`);
  }
  return failures.length === 0 ? 0 : 1;
}

// Who reads the output may stop reading it, as `head` does.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

runProgram(main, usage);
