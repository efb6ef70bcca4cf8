// Chaos on a pipeline of real processes: clients send requests that work, throw, hang, are aborted or have a
// deadline, and are refused in bursts, while processes are killed and stopped and stages grow and shrink. What has to
// hold: every request has exactly one end, one that it may have (chaos-plan.ts); a result is right in every byte, and
// of one request and one run; in the end nothing is left of any request, no process, no descriptor and no mapping.
//
// Invariant: the seed decides what is sent and which blows come after how many ends; it is named with every failure.
// Waiting is bounded by progress: as long as requests end, nobody is late.
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { LocalPipeline } from '../../src/ts/cluster/index.js';
import { type PipelineResult, type RdmaError, tensor } from '../../src/ts/pipeline/index.js';
import { DEVICE, within } from '../pipeline/support.js';
import { leftBehind, openNow } from '../ring/leftovers.js';
import { type Blow, endsOf, planBlow, planRequest, type RequestPlan, requestBytes, rightResult } from './chaos-plan.js';
import { chaotic } from './chaos-workflow.js';
import { gone, idle } from './support.js';

export interface ChaosOptions {
  seed: number;
  /** It is over when so many requests have ended and so many blows were dealt. */
  requests: number;
  blows: number;
  /** Instead of both: when so many ms have passed. */
  forMs?: number;
  clients: number;
  /** Requests that end between two blows, on average. */
  between: number;
  onProgress?: (ended: number, blows: number) => void;
}

export interface ChaosSummary {
  seed: number;
  requests: number;
  ends: Record<string, number>;
  blows: Record<string, number>;
  restarts: number;
}

/** When no request has ended for so long, something hangs. */
const STILL_MS = 60_000;
/** A small queue, so that bursts are refused. */
const MAX_QUEUED = 64;
const PAUSE_MS = 5;
/** A client that is refused comes again after so long. */
const REFUSED_MS = 10;

class Run {
  readonly ends: Record<string, number> = {};
  readonly blows: Record<string, number> = {};
  readonly problems: string[] = [];
  readonly seen = new Set<number>();
  private readonly options: ChaosOptions;
  private readonly pipeline: LocalPipeline;
  private readonly open = new Map<number, RequestPlan>();
  private readonly asides: Promise<void>[] = []; // stops and bursts under way
  private readonly stopped = new Set<number>();
  private scaling: Promise<void> | undefined;
  private next = 0;
  private ended = 0;
  private endedAt = performance.now();
  private isOver = false;

  constructor(pipeline: LocalPipeline, options: ChaosOptions) {
    this.pipeline = pipeline;
    this.options = options;
  }

  get requests(): number {
    return this.next;
  }

  // ---- Requests

  /** Sends the next request and accounts for it. Answers how it ended. */
  private async send(): Promise<string> {
    const { seed } = this.options;
    const plan = planRequest(seed, this.next++);
    this.open.set(plan.n, plan);
    const end = await this.endOf(plan);
    if (!this.open.delete(plan.n)) this.problems.push(`request ${plan.n} has ended twice`);
    this.ends[end] = (this.ends[end] ?? 0) + 1;
    this.ended++;
    this.endedAt = performance.now();
    if (!endsOf(plan).includes(end)) this.problems.push(`request ${JSON.stringify(plan)} ended with: ${end}`);
    return end;
  }

  private async endOf(plan: RequestPlan): Promise<string> {
    const { seed } = this.options;
    const { n, act, where, workMs, abortMs, timeoutMs, views, tenant, priority } = plan;
    const bytes = requestBytes(seed, plan);
    const request = { meta: { n, act, where, workMs }, parts: { x: tensor('u8', [bytes.length], bytes) } };
    const control = new AbortController();
    const timer = abortMs === undefined ? undefined : setTimeout(() => control.abort(), abortMs);
    const options = { views, tenant, priority, signal: control.signal };
    try {
      const result = await this.pipeline.run(request, timeoutMs === undefined ? options : { ...options, timeoutMs });
      const wrong = whatIsWrong(seed, plan, result);
      result.release();
      return wrong ?? 'ok';
    } catch (error) {
      const { code, message } = error as RdmaError;
      // Which stage it was is part of what a failure says.
      if (code !== 'RDMA_ERR_STAGE_FAILED') return code ?? String(error);
      return message.includes(`request ${n} fails in ${where}`) ? code : message;
    } finally {
      clearTimeout(timer);
    }
  }

  private async client(): Promise<void> {
    while (!this.isOver) if ((await this.send()) === 'RDMA_ERR_REJECTED') await sleep(REFUSED_MS);
  }

  private async burst(requests: number): Promise<void> {
    await Promise.all(Array.from({ length: requests }, () => this.send()));
  }

  // ---- Blows

  private deal(blow: Blow): void {
    const { fault } = blow;
    this.blows[fault] = (this.blows[fault] ?? 0) + 1;
    if (fault === 'burst') this.asides.push(this.burst(blow.requests));
    else if (fault === 'scale') this.scale(blow);
    else if (fault === 'kill' || fault === 'kill two') this.kill(blow);
    else this.asides.push(this.stop(blow));
  }

  private kill({ fault, victim }: Blow): void {
    const running = this.running();
    const victims = fault === 'kill' ? [victim] : [victim, victim + 1];
    for (const index of victims) {
      const place = running[index % running.length];
      if (place !== undefined) process.kill(place.pid, 'SIGKILL');
    }
  }

  private async stop({ fault, victim, lastsMs }: Blow): Promise<void> {
    const running = this.running();
    const place = running[victim % running.length];
    if (place === undefined || this.stopped.has(place.pid)) return;
    const { pid } = place;
    this.stopped.add(pid);
    process.kill(pid, 'SIGSTOP');
    await sleep(lastsMs);
    this.stopped.delete(pid);
    // It may have been killed and waited for meanwhile: then the number is nobody's.
    if (!this.running().some((each) => each.pid === pid)) return;
    process.kill(pid, fault === 'stop' ? 'SIGCONT' : 'SIGKILL');
  }

  // One after the other: who comes while a stage still changes has no turn.
  private scale({ stage, instances }: Blow): void {
    if (this.scaling !== undefined) return;
    this.scaling = this.pipeline
      .scale(stage, instances)
      .catch((error: Error) => void this.problems.push(`${stage} of ${instances}: ${error.message}`))
      .finally(() => {
        this.scaling = undefined;
      });
  }

  private running(): { pid: number }[] {
    const { processes } = this.pipeline;
    for (const { pid } of processes) this.seen.add(pid);
    return processes;
  }

  // ---- The run

  async play(): Promise<void> {
    const { seed, requests, blows, forMs, between, clients, onProgress } = this.options;
    const begin = performance.now();
    const isDone = (dealt: number) =>
      forMs === undefined ? this.ended >= requests && dealt >= blows : performance.now() - begin > forMs;
    const all = Promise.all(Array.from({ length: clients }, () => this.client()));
    let dealt = 0;
    let at = planBlow(seed, 0, between).after;
    while (!isDone(dealt) && this.problems.length === 0) {
      await sleep(PAUSE_MS);
      this.running();
      await this.checkProgress();
      if (this.ended < at) continue;
      this.deal(planBlow(seed, dealt++, between));
      at = this.ended + planBlow(seed, dealt, between).after;
      onProgress?.(this.ended, dealt);
    }
    this.isOver = true;
    await this.goOnUntil('all requests', Promise.all([all, ...this.asides]));
    if (this.scaling !== undefined) await this.goOnUntil('the last change of a stage', this.scaling);
    if (this.open.size > 0) this.problems.push(`${this.open.size} requests have no end`);
  }

  private async checkProgress(): Promise<void> {
    if (performance.now() - this.endedAt < STILL_MS) return;
    const { gateway } = await within('the status', this.pipeline.status());
    const open = [...this.open.values()].slice(0, 5).map((plan) => JSON.stringify(plan));
    const load = JSON.stringify(gateway?.instances);
    throw new Error(`no request has ended for ${STILL_MS} ms; open: ${open.join(' ')}; the gateway: ${load}`);
  }

  private async goOnUntil(what: string, promise: Promise<unknown>): Promise<void> {
    let isThere = false;
    const settled = promise.finally(() => {
      isThere = true;
    });
    settled.catch(() => {});
    this.endedAt = performance.now();
    while (!isThere) {
      await sleep(PAUSE_MS);
      if (performance.now() - this.endedAt > STILL_MS) throw new Error(`waited too long for ${what}`);
    }
    await settled;
  }

  /** The pipeline is as good as new: it holds nothing, and answers. */
  async checkRest(): Promise<void> {
    await idle(this.pipeline, STILL_MS);
    const { seed } = this.options;
    for (let i = 0; i < 20; i++) {
      const plan: RequestPlan = { ...planRequest(seed, this.next++), act: 'work', workMs: 0 };
      plan.abortMs = undefined;
      plan.timeoutMs = undefined;
      const end = await within('a request behind it', this.endOf(plan));
      if (end !== 'ok') this.problems.push(`a request behind it ended with: ${end}`);
    }
    await idle(this.pipeline, STILL_MS);
  }

  /** Whoever is stopped goes on, so that it can be ended as usual. */
  continueAll(): void {
    for (const { pid } of this.running()) if (this.stopped.has(pid)) process.kill(pid, 'SIGCONT');
  }
}

/** What is wrong with a result; undefined: nothing. */
export function whatIsWrong(
  seed: number,
  plan: RequestPlan,
  { outputs }: Pick<PipelineResult, 'outputs'>,
): string | undefined {
  const right = rightResult(seed, plan);
  if (outputs.length !== 1) return `${outputs.length} outputs`;
  const { meta, parts } = outputs[0]!;
  if (JSON.stringify(meta) !== JSON.stringify(right.meta)) {
    return `answered ${JSON.stringify(meta)} instead of ${JSON.stringify(right.meta)}`;
  }
  const bytes = parts.x?.data as Uint8Array | undefined;
  if (bytes === undefined) return 'has no bytes';
  if (Buffer.compare(bytes, right.bytes) === 0) return undefined;
  const at = right.bytes.findIndex((byte, i) => bytes[i] !== byte);
  return `${bytes.length} bytes of ${right.bytes.length}, the first difference at ${at}`;
}

/** The command that does it again, as far as real processes do. */
export function replayOf({ seed, clients, between }: ChaosOptions): string {
  return `npm run chaos:pipeline -- --seed ${seed} --clients ${clients} --between ${between}`;
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

const sharedMemory = () => readdirSync('/dev/shm').filter((name) => name.includes('onepiece'));

/**
 * Runs chaos once.
 *
 * @returns what was done
 * @throws Error with what does not hold, and the command that runs the same seed again
 */
export async function runChaos(options: ChaosOptions): Promise<ChaosSummary> {
  const before = openNow();
  const memoryBefore = sharedMemory();
  const problems: string[] = [];
  const pipeline = await within(
    'the start',
    LocalPipeline.start(chaotic, { device: DEVICE, maxQueued: MAX_QUEUED, maxRestarts: 1000 }),
    STILL_MS,
  );
  const run = new Run(pipeline, options);
  try {
    await run.play();
    if (run.problems.length === 0) await run.checkRest();
  } catch (error) {
    problems.push((error as Error).message);
  }
  problems.unshift(...run.problems);
  const restarts = pipeline.restartTotals.reduce((sum, { count }) => sum + count, 0);
  run.continueAll();
  try {
    await within('the close', pipeline.close(), STILL_MS);
    await gone([...run.seen], STILL_MS);
    // What dead processes shared with this one is unmapped when its buffer is collected.
    collectGarbage();
    const left = await leftBehind(before);
    if (left.descriptors > 0 || left.mappings > 0) problems.push(`it leaves ${JSON.stringify(left)}`);
    const memory = sharedMemory().filter((name) => !memoryBefore.includes(name));
    if (memory.length > 0) problems.push(`it leaves ${memory.join(', ')} in /dev/shm`);
  } catch (error) {
    problems.push((error as Error).message);
  }
  const summary = { seed: options.seed, requests: run.requests, ends: run.ends, blows: run.blows, restarts };
  if (problems.length === 0) return summary;
  const shown = problems.slice(0, 10).join('\n');
  throw new Error(`${shown}\n${JSON.stringify(summary)}\nagain: ${replayOf(options)}`);
}
