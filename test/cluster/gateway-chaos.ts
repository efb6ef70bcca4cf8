// Chaos on gateways: processes with a pipeline of their own over a durable store are killed, stopped, closed and
// started again while they submit jobs, and so are their stages and the server of the store. What has to hold: every
// job whose submit() answered has exactly one outcome, which gateway-plan.ts allows, and every gateway that gives one
// gives that one; a result is right in every byte; the store has no open jobs and counts what it holds; no process is
// left.
//
// Invariant: the seed decides what is sent and which blows come after how many outcomes; it is named with every
// failure. Waiting is bounded by progress. Only processes that were started here are signalled, each by its id.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { LocalPipeline } from '../../src/ts/cluster/index.js';
import type { JobStore } from '../../src/ts/jobs/index.js';
import { DEVICE, within } from '../pipeline/support.js';
import { chaotic } from './chaos-workflow.js';
import { type GatewayTask, openStore, outcomeOf, type SeenOutcome } from './gateway-main.js';
import { ENDING, type GatewayBlow, jobEndsOf, jobId, planGatewayBlow, planJob } from './gateway-plan.js';
import { gone } from './support.js';

export interface GatewayChaosOptions {
  seed: number;
  kind: GatewayTask['kind'];
  place: string;
  /** How many gateways run at a time. */
  gateways: number;
  /** It is over when so many blows were dealt ... */
  blows: number;
  /** ... or, instead, when so many ms have passed. */
  forMs?: number;
  /** Of each gateway. */
  clients: number;
  /** What can be done to the server of the store; undefined: it has none. */
  server?: { breakConnections(): Promise<void>; restart(): Promise<void> };
  onProgress?: (told: number, blows: number) => void;
}

export interface GatewayChaosSummary {
  seed: number;
  store: string;
  blows: Record<string, number>;
  accepted: number;
  told: number;
  /** Jobs that were begun more than once. */
  repeated: number;
  ends: Record<string, number>;
  /** Accepted jobs without an outcome of theirs, and jobs with two. */
  lost: number;
  twice: number;
}

/** When nothing has happened for so long, something hangs. */
const STILL_MS = 60_000;
const PAUSE_MS = 5;
const LOST = 'has no outcome';

class GatewayProcess {
  pids: number[] = [];
  isReady = false;
  /** It is being ended here. */
  isEnding = false;
  readonly startedAt = performance.now();
  readonly ended: Promise<unknown>;
  private readonly child: ChildProcess;

  constructor(task: GatewayTask, onLine: (what: string, rest: string) => void, onEnd: (how: string) => void) {
    const file = join(__dirname, 'gateway-main.js');
    const argv = ['--enable-source-maps', file, JSON.stringify(task)];
    this.child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.ended = once(this.child, 'close').then(([code, signal]) => {
      if (!this.isEnding) onEnd(`gateway ${task.generation} has ended by itself: ${signal ?? `exit code ${code}`}`);
    });
    createInterface({ input: this.child.stdout! }).on('line', (line) => {
      const at = line.indexOf(' ');
      const [what, rest] = at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 1)];
      if (what === 'ready') this.isReady = true;
      else if (what === 'p')
        this.pids = rest
          .split(' ')
          .filter((pid) => pid !== '')
          .map(Number);
      else onLine(what, rest);
    });
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name);
  }
}

class GatewayRun {
  readonly blows: Record<string, number> = {};
  readonly ends: Record<string, number> = {};
  readonly problems: string[] = [];
  readonly accepted = new Set<number>();
  readonly told = new Map<number, SeenOutcome>();
  readonly seen = new Set<number>(); // processes of stages
  repeated = 0;
  lost = 0;
  twice = 0;
  private generation = 0;
  private movedAt = performance.now();
  private readonly running: GatewayProcess[];

  constructor(private readonly options: GatewayChaosOptions) {
    this.running = Array.from({ length: options.gateways }, () => this.start());
  }

  private start(): GatewayProcess {
    const { kind, place, seed, clients } = this.options;
    const task = { kind, place, seed, clients, generation: this.generation++ };
    const onEnd = (how: string) => void this.problems.push(how);
    return new GatewayProcess(task, (what, rest) => this.onLine(what, rest), onEnd);
  }

  private onLine(what: string, rest: string): void {
    const at = rest.indexOf(' ');
    const n = Number(at < 0 ? rest : rest.slice(0, at));
    this.movedAt = performance.now();
    if (what === 'a') this.accepted.add(n);
    else if (what === 'o') this.see(n, JSON.parse(rest.slice(at + 1)) as SeenOutcome);
  }

  // Whoever looks at a job sees the same outcome.
  private see(n: number, outcome: SeenOutcome): void {
    const before = this.told.get(n);
    if (before !== undefined && (before.of !== outcome.of || before.end !== outcome.end)) {
      this.twice++;
      this.problems.push(`job ${n} has two outcomes: ${JSON.stringify(before)} and ${JSON.stringify(outcome)}`);
    }
    this.told.set(n, outcome);
  }

  // ---- Blows

  async play(): Promise<void> {
    const { seed, blows, forMs, server, onProgress } = this.options;
    const begin = performance.now();
    const isDone = (dealt: number) => (forMs === undefined ? dealt >= blows : performance.now() - begin > forMs);
    for (let k = 0; !isDone(k) && this.problems.length === 0; k++) {
      const blow = planGatewayBlow(seed, k, server !== undefined);
      const index = blow.gateway % this.running.length;
      await this.waitFor(blow, this.running[index]!);
      this.blows[blow.fault] = (this.blows[blow.fault] ?? 0) + 1;
      await this.deal(blow, index);
      onProgress?.(this.told.size, k + 1);
    }
    if (this.problems.length === 0) await this.until('a gateway that is ready', () => this.running[0]!.isReady);
  }

  private async waitFor({ early, earlyMs, after, fault }: GatewayBlow, gateway: GatewayProcess): Promise<void> {
    if (early && ENDING.includes(fault)) {
      await sleep(earlyMs - (performance.now() - gateway.startedAt));
      return;
    }
    // A server that is away when a gateway starts is an error of that start.
    await this.until('gateways that are ready', () => this.running.every(({ isReady }) => isReady));
    const at = this.told.size + after;
    await this.until('the next outcomes', () => this.told.size >= at);
  }

  private async deal({ fault, victim, lastsMs, restarts }: GatewayBlow, index: number): Promise<void> {
    const gateway = this.running[index]!;
    for (const pid of gateway.pids) this.seen.add(pid);
    const { pids } = gateway;
    if (fault === 'store') await (restarts ? this.options.server!.restart() : this.options.server!.breakConnections());
    else if (fault === 'stage' || fault === 'two stages') {
      for (let i = 0; i < (fault === 'stage' ? 1 : 2); i++) kill(pids[(victim + i) % pids.length]);
    } else if (fault === 'stop' || fault === 'stop and kill') {
      gateway.signal('SIGSTOP');
      await sleep(lastsMs);
      if (fault === 'stop') gateway.signal('SIGCONT');
    }
    if (!ENDING.includes(fault)) return;
    gateway.isEnding = true;
    // One that does not listen to it yet ends by it.
    gateway.signal(fault === 'close' ? 'SIGTERM' : 'SIGKILL');
    await within('the end of a gateway', gateway.ended, STILL_MS);
    await gone(pids, STILL_MS);
    this.running[index] = this.start();
    this.movedAt = performance.now();
  }

  private async until(what: string, isThere: () => boolean): Promise<void> {
    this.movedAt = performance.now();
    while (!isThere() && this.problems.length === 0) {
      await sleep(PAUSE_MS);
      if (performance.now() - this.movedAt > STILL_MS) throw new Error(`waited too long for ${what}`);
    }
  }

  async killAll(): Promise<void> {
    for (const gateway of this.running) {
      gateway.isEnding = true;
      gateway.signal('SIGKILL');
      for (const pid of gateway.pids) this.seen.add(pid);
    }
    await Promise.all(this.running.map(({ ended }) => within('the end of a gateway', ended, STILL_MS)));
    await gone([...this.seen], STILL_MS);
  }

  // ---- What was not finished is finished here; then everything is looked at

  async settle(): Promise<void> {
    const store = await openStore(this.options);
    let pipeline: LocalPipeline | undefined;
    try {
      const options = { device: DEVICE, maxRestarts: 1000, store };
      pipeline = await within('the start', LocalPipeline.start(chaotic, options), STILL_MS);
      for (const n of this.accepted) await this.check(n, store, pipeline);
      for (const n of this.told.keys()) {
        if ((await store.get(jobId(n))) === undefined)
          this.problems.push(`job ${n} was accepted and is not in the store`);
      }
      await this.checkStore(store);
    } finally {
      if (pipeline !== undefined) await within('the close', pipeline.close(), STILL_MS);
      await store.close();
    }
  }

  private async check(n: number, store: JobStore, pipeline: LocalPipeline): Promise<void> {
    const { seed } = this.options;
    const { plan } = planJob(seed, n);
    try {
      const job = await pipeline.job(jobId(n));
      const outcome = await within(`job ${n}`, outcomeOf(store, job, seed, plan), STILL_MS);
      const { attempts } = await job.record();
      const { end } = outcome;
      this.see(n, outcome);
      this.ends[end] = (this.ends[end] ?? 0) + 1;
      if (attempts > 1) this.repeated++;
      const isRight = end === 'begun too often' ? attempts === 3 : jobEndsOf(plan).includes(end);
      if (!isRight) this.problems.push(`job ${JSON.stringify(plan)}, begun ${attempts} times, ended with: ${end}`);
    } catch (error) {
      this.lost++;
      this.problems.push(`job ${n} ${LOST}: ${String(error)}`);
    }
  }

  // Also of jobs whose submit() has not answered.
  private async checkStore(store: JobStore): Promise<void> {
    const begin = performance.now();
    for (;;) {
      const open = await store.open();
      if (open.length === 0) break;
      if (performance.now() - begin > STILL_MS) throw new Error(`open still: ${open.map(({ id }) => id).join(' ')}`);
      await sleep(10 * PAUSE_MS);
    }
    const { bytes, jobs } = await store.usage();
    const entries = await store.list({ limit: 100_000 });
    const held = entries.reduce((sum, { request, result }) => sum + (request?.bytes ?? 0) + (result?.bytes ?? 0), 0);
    if (bytes !== held) this.problems.push(`the store counts ${bytes} bytes and holds ${held}`);
    if (jobs !== entries.length) this.problems.push(`the store counts ${jobs} jobs and holds ${entries.length}`);
  }
}

function kill(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}

/** The command that does it again, as far as real processes do. */
export function replayGateways({ seed, kind, clients, gateways }: GatewayChaosOptions): string {
  const options = `--only gateways --store ${kind} --gateways ${gateways} --clients ${clients} --seed ${seed}`;
  return `npm run chaos:pipeline -- ${options}`;
}

/**
 * Runs chaos on gateways once.
 *
 * @returns what was done
 * @throws Error with what does not hold, and the command that runs the same seed again
 */
export async function runGatewayChaos(options: GatewayChaosOptions): Promise<GatewayChaosSummary> {
  const run = new GatewayRun(options);
  const { problems } = run;
  try {
    try {
      await run.play();
    } finally {
      await run.killAll();
    }
    if (problems.length === 0) await run.settle();
  } catch (error) {
    problems.push((error as Error).message);
  }
  const { blows, accepted, told, repeated, ends, lost, twice } = run;
  const counts = { accepted: accepted.size, told: told.size, repeated, ends, lost, twice };
  const summary = { seed: options.seed, store: options.kind, blows, ...counts };
  if (problems.length === 0) return summary;
  const shown = problems.slice(0, 10).join('\n');
  throw new Error(`${shown}\n${JSON.stringify(summary)}\nagain: ${replayGateways(options)}`);
}
