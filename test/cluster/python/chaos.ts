// Chaos on stages in Python: clients send tensors through two of them, in two instances each, while Python processes
// and their keepers are killed and stopped, at any instant, also while they start. What has to hold: every request has
// one end, with the right bytes; nothing before a Python process notices; in the end nothing is left.
//
// Invariant: the seed decides what is sent, and which blow comes after how many ends. Waiting is bounded by progress:
// as long as requests end, nobody is late.
import { setTimeout as sleep } from 'node:timers/promises';
import { LocalPipeline } from '../../../src/ts/cluster/index.js';
import { type PipelineResult, type RdmaError, tensor } from '../../../src/ts/pipeline/index.js';
import { hash } from '../../ring/chaos-plan.js';
import { within } from '../../pipeline/support.js';
import { alive, gone, idle, parentOf } from '../support.js';
import { steady } from './workflows.js';

export interface PythonChaosOptions {
  seed: number;
  /** Blows; it is over when they were dealt and all requests have ended. */
  kills: number;
  clients: number;
  onProgress?: (ended: number, blows: number) => void;
}

export interface PythonChaosSummary {
  seed: number;
  /** What was dealt, by kind. */
  blows: Record<string, number>;
  requests: number;
  lost: number;
  twice: number;
  wrong: number;
  hung: number;
  /** Python processes that were replaced within their stage process, and stage processes that were. */
  pythonRestarts: number;
  stageRestarts: number;
  /** Requests a second, over the whole run. */
  perSecond: number;
}

const FAULTS = ['kill', 'kill', 'kill', 'kill keeper', 'stop', 'stop for good'] as const;
type Fault = (typeof FAULTS)[number];

export interface PythonBlow {
  fault: Fault;
  /** Among the places. */
  victim: number;
  /** Requests that end before it. */
  after: number;
}

/** The blow of this number. */
export function planPythonBlow(seed: number, n: number): PythonBlow {
  return {
    fault: FAULTS[hash(seed, n, 1) % FAULTS.length]!,
    victim: hash(seed, n, 2),
    after: 1 + (hash(seed, n, 3) % 40),
  };
}

const SIZES = [0, 1, 16, 1000, 20_000, 300_000];

/** The numbers that a request sends. */
export function planNumbers(seed: number, n: number): Float32Array {
  const count = SIZES[hash(seed, n, 4) % SIZES.length]!;
  const first = hash(seed, n, 5) % 1000;
  return Float32Array.from({ length: count }, (_, i) => first + (i % 1021));
}

/** What is wrong with the answer to these numbers; undefined: nothing. */
export function whatIsWrongWith(
  sent: Float32Array,
  n: number,
  { outputs }: Pick<PipelineResult, 'outputs'>,
): string | undefined {
  const [output, ...others] = outputs;
  if (output === undefined || others.length > 0) return `${outputs.length} outputs`;
  const { n: answered } = output.meta as { n?: number };
  if (answered !== n) return `the answer to request ${answered}`;
  const got = output.parts.x?.data as Float32Array | undefined;
  if (got?.length !== sent.length) return `${got?.length} numbers of ${sent.length}`;
  const at = sent.findIndex((value, i) => got[i] !== 2 * value + 1);
  return at < 0 ? undefined : `number ${at} is ${got[at]} instead of ${2 * sent[at]! + 1}`;
}

/** When no request has ended for so long, something hangs. */
const STILL_MS = 60_000;
const PAUSE_MS = 5;
/** A process that is stopped for a moment goes on after so long: before its stage process gives it up. */
const MOMENT_MS = 100;
const PLACES = ['double/0', 'double/1', 'increment/0', 'increment/1'];

class Run {
  readonly problems: string[] = [];
  readonly blows: Record<string, number> = {};
  readonly seen = new Set<number>();
  readonly open = new Set<number>();
  lost = 0;
  twice = 0;
  wrong = 0;
  ended = 0;
  next = 0;
  private isOver = false;
  private endedAtMs = performance.now();
  private readonly asides: Promise<void>[] = [];

  constructor(
    private readonly pipeline: LocalPipeline,
    private readonly options: PythonChaosOptions,
  ) {}

  private async send(): Promise<void> {
    const n = this.next++;
    const sent = planNumbers(this.options.seed, n);
    this.open.add(n);
    try {
      const x = tensor('f32', [sent.length], sent);
      const wrong = whatIsWrongWith(sent, n, await this.pipeline.run({ meta: { n }, parts: { x } }));
      if (wrong !== undefined) {
        this.wrong++;
        this.problems.push(`request ${n}: ${wrong}`);
      }
    } catch (error) {
      this.lost++;
      this.problems.push(`request ${n} failed: ${(error as RdmaError).code} ${(error as Error).message}`);
    }
    if (!this.open.delete(n)) this.twice++;
    this.ended++;
    this.endedAtMs = performance.now();
  }

  private async client(): Promise<void> {
    while (!this.isOver) await this.send();
  }

  async play(): Promise<void> {
    const { seed, kills, clients, onProgress } = this.options;
    const all = Promise.all(Array.from({ length: clients }, () => this.client()));
    let at = 0;
    for (let n = 0; n < kills && this.problems.length === 0; n++) {
      const blow = planPythonBlow(seed, n);
      at += blow.after;
      while (this.ended < at) await this.pause();
      await this.deal(blow);
      at = this.ended;
      onProgress?.(this.ended, n + 1);
    }
    this.isOver = true;
    let isThere = false;
    const rest = Promise.all([all, ...this.asides]).finally(() => {
      isThere = true;
    });
    rest.catch(() => {});
    while (!isThere) await this.pause();
    await rest;
  }

  private async pause(): Promise<void> {
    await sleep(PAUSE_MS);
    if (performance.now() - this.endedAtMs > STILL_MS) {
      throw new Error(`no request has ended for ${STILL_MS} ms; open: ${[...this.open].slice(0, 10).join(' ')}`);
    }
  }

  // A place whose process has just ended has none: the blow falls on the next one, or on nobody.
  private async deal({ fault, victim }: PythonBlow): Promise<void> {
    const { stages } = await this.pipeline.status();
    for (let i = 0; i < PLACES.length; i++) {
      const pid = stages[PLACES[(victim + i) % PLACES.length]!]?.python?.pid;
      if (pid === undefined || !alive(pid)) continue;
      this.seen.add(pid);
      this.blows[fault] = (this.blows[fault] ?? 0) + 1;
      this.strike(fault, pid);
      return;
    }
  }

  private strike(fault: Fault, pid: number): void {
    if (fault === 'kill keeper') signal(parentOf(pid), 'SIGKILL');
    else if (fault === 'kill') signal(pid, 'SIGKILL');
    else signal(pid, 'SIGSTOP');
    // The process may have been killed meanwhile, and only then is its number free: it is looked at once more.
    if (fault === 'stop') this.asides.push(this.goOn(pid, parentOf(pid)));
  }

  private async goOn(pid: number, keeper: number | undefined): Promise<void> {
    await sleep(MOMENT_MS);
    if (keeper !== undefined && parentOf(pid) === keeper) signal(pid, 'SIGCONT');
  }
}

function signal(pid: number | undefined, name: NodeJS.Signals): void {
  if (pid === undefined || pid <= 1) return;
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/**
 * Runs chaos once.
 *
 * @returns what was done
 * @throws Error with what does not hold, and the command that runs the same seed again
 */
export async function runPythonChaos(options: PythonChaosOptions): Promise<PythonChaosSummary> {
  const pipeline = await within(
    'the start',
    LocalPipeline.start(steady, { device: 'soft0', maxRestarts: 1000 }),
    STILL_MS,
  );
  const run = new Run(pipeline, options);
  const beginMs = performance.now();
  let hung = 0;
  let pythonRestarts = 0;
  try {
    await run.play();
    await idle(pipeline, STILL_MS);
    const { stages } = await pipeline.status();
    for (const place of PLACES) pythonRestarts += stages[place]?.python?.restarts ?? 0;
  } catch (error) {
    run.problems.push((error as Error).message);
    hung = run.open.size;
  }
  const seconds = (performance.now() - beginMs) / 1000;
  const stageRestarts = pipeline.restartTotals.reduce((sum, { count }) => sum + count, 0);
  try {
    await within('the close', pipeline.close(), STILL_MS);
    await gone([...run.seen], STILL_MS);
  } catch (error) {
    run.problems.push((error as Error).message);
  }
  const { blows, next: requests, lost, twice, wrong } = run;
  const perSecond = Math.round(run.ended / seconds);
  const counts = { requests, lost, twice, wrong, hung };
  const summary = { seed: options.seed, blows, ...counts, pythonRestarts, stageRestarts, perSecond };
  if (run.problems.length === 0) return summary;
  const again = `npm run chaos:python -- --seed ${options.seed} --kills ${options.kills} --clients ${options.clients}`;
  throw new Error(`${run.problems.slice(0, 10).join('\n')}\n${JSON.stringify(summary)}\nagain: ${again}`);
}
