// What the stages of a workflow cost, by running it: time, memory, and how long a process takes to start.
//
// Invariant: a figure of a batch is of batches that had that size, or there is none. Processes are ended only to see
// how long the next one takes, when no request is under way. Nothing is left running, however it ends.
import { setTimeout as sleep } from 'node:timers/promises';
import { LocalPipeline } from '../../cluster/index.js';
import { type FailureCode, isRdmaError, RdmaError } from '../../core/errors.js';
import {
  batchSizeOf,
  graphOf,
  type PipelineRequest,
  type PipelineResult,
  REQUEST,
  RESULT,
  type Trace,
  type Workflow,
  type WorkflowSpec,
} from '../../pipeline/index.js';
import { longestPathUs } from '../../pipeline/forecast.js';
import { GpuMemoryWatch, peakBytesOf } from './process-memory.js';

/** How a workflow is measured. */
export interface ProfileSettings {
  /** What is sent; they take turns. At least one. */
  readonly requests: readonly PipelineRequest[];
  /** How often, for each size of batches. */
  readonly rounds: number;
  /** Requests sent together; ascending, the first is 1. */
  readonly batches: readonly number[];
  /** Requests before the first one that counts. */
  readonly warmUp: number;
  /** How often each stage is started again. */
  readonly loads: number;
  readonly device: string;
  readonly requestTimeoutMs: number;
  readonly startTimeoutMs: number;
}

/** What was measured of one stage. */
export interface StageMeasured {
  readonly name: string;
  /** Seconds of each task, or batch, by the size of the batch. */
  readonly seconds: ReadonlyMap<number, readonly number[]>;
  /** From the start of a process until it was ready. */
  readonly loadSeconds: readonly number[];
  /** The largest resident set of its process, and of what that has started. */
  readonly peakBytes: number | undefined;
  /** The most memory on one GPU; undefined: it has none, or nobody knows. */
  readonly gpuPeakBytes: number | undefined;
  /** Sent to the next stage, for each request; undefined: there is none. */
  readonly outputBytes: number | undefined;
}

/** What was measured. */
export interface WorkflowMeasured {
  readonly stages: readonly StageMeasured[];
  /** Of each request alone: all of it, and what was in no stage. */
  readonly latencySeconds: readonly number[];
  readonly betweenSeconds: readonly number[];
  /** What is missing, and why. */
  readonly notes: readonly string[];
}

const LOOK_MS = 20;
/** Before a process is ended: one that has worked for less is started again after a delay. */
const SETTLED_MS = 250;
/** A batch counts as one of n tasks when all batches had so many. */
const ABOUT_ALL = 0.001;

/**
 * Starts a workflow, measures it, and ends it.
 *
 * @param onStep gets what is being done, in words
 * @throws RdmaError as LocalPipeline.start; that of the request which fails, with its number; RDMA_ERR_ABORTED
 */
export async function measureWorkflow(
  workflow: Workflow,
  settings: ProfileSettings,
  onStep: (words: string) => void,
  signal: AbortSignal,
): Promise<WorkflowMeasured> {
  onStep('starting the stages');
  const { device, startTimeoutMs, loads } = settings;
  const pipeline = await LocalPipeline.start(workflow, { device, startTimeoutMs, maxRestarts: loads + 10 });
  try {
    return await new Measurement(pipeline, settings, onStep, signal).run();
  } finally {
    await pipeline.close();
  }
}

class Measurement {
  private readonly spec: WorkflowSpec;
  private readonly seconds = new Map<string, Map<number, number[]>>();
  private readonly loadSeconds = new Map<string, number[]>();
  private readonly outputBytes = new Map<string, number[]>();
  private readonly latencySeconds: number[] = [];
  private readonly betweenSeconds: number[] = [];
  private readonly notes: string[] = [];
  private sent = 0;

  constructor(
    private readonly pipeline: LocalPipeline,
    private readonly settings: ProfileSettings,
    private readonly onStep: (words: string) => void,
    private readonly signal: AbortSignal,
  ) {
    this.spec = pipeline.workflow.spec;
    for (const { name } of this.spec.stages) {
      this.seconds.set(name, new Map());
      this.loadSeconds.set(name, []);
      this.outputBytes.set(name, []);
    }
  }

  async run(): Promise<WorkflowMeasured> {
    const { spec, settings, onStep } = this;
    const usesGpus = spec.stages.some(({ resources }) => (resources?.gpus ?? 0) > 0);
    const watch = usesGpus ? new GpuMemoryWatch(() => this.groups()) : undefined;
    let gpuPeaks: ReadonlyMap<string, number> = new Map();
    try {
      for (let i = 0; i < settings.warmUp; i++) {
        onStep(`warm-up ${i + 1} of ${settings.warmUp}`);
        await this.send();
      }
      for (const batch of settings.batches) await this.measureBatch(batch);
    } finally {
      if (watch !== undefined) gpuPeaks = await watch.stop();
    }
    if (watch?.problem !== undefined) this.notes.push(watch.problem);
    const peaks = new Map([...this.groups()].map(([stage, group]) => [stage, peakBytesOf(group)]));
    for (const { name } of spec.stages) {
      for (let i = 0; i < settings.loads; i++) {
        onStep(`starting ${name} again, ${i + 1} of ${settings.loads}`);
        this.loadSeconds.get(name)!.push(await this.startAgain(name));
      }
    }
    return {
      stages: spec.stages.map(({ name }) => {
        const bytes = this.outputBytes.get(name)!;
        return {
          name,
          seconds: this.seconds.get(name)!,
          loadSeconds: this.loadSeconds.get(name)!,
          peakBytes: peaks.get(name),
          gpuPeakBytes: gpuPeaks.get(name),
          outputBytes: bytes.length === 0 ? undefined : Math.max(...bytes),
        };
      }),
      latencySeconds: this.latencySeconds,
      betweenSeconds: this.betweenSeconds,
      notes: this.notes,
    };
  }

  // The group of each stage's first instance.
  private groups(): Map<string, number> {
    const first = this.pipeline.processes.filter(({ instance }) => instance === 0);
    return new Map(first.map(({ stage, pid }) => [stage, pid]));
  }

  private async send(): Promise<{ result: PipelineResult; seconds: number }> {
    const { settings, signal, pipeline } = this;
    const number = this.sent++;
    const request = settings.requests[number % settings.requests.length]!;
    const beganMs = performance.now();
    try {
      const result = await pipeline.run(request, { timeoutMs: settings.requestTimeoutMs, signal, trace: true });
      return { result, seconds: (performance.now() - beganMs) / 1000 };
    } catch (error) {
      signal.throwIfAborted();
      if (!isRdmaError(error)) throw error;
      const { code, message } = error;
      const words = message.startsWith(`${code}: `) ? message.slice(code.length + 2) : message;
      throw new RdmaError(code as FailureCode, `request ${number + 1} failed: ${words}`, { cause: error });
    }
  }

  private async measureBatch(batch: number): Promise<void> {
    const { settings, spec, onStep } = this;
    const before = batch === 1 ? undefined : await this.pipeline.status();
    const found = new Map<string, number[]>(spec.stages.map(({ name }) => [name, []]));
    for (let round = 0; round < settings.rounds; round++) {
      const together = batch === 1 ? '' : ` of ${batch} requests together`;
      onStep(`round ${round + 1} of ${settings.rounds}${together}`);
      const done = await this.together(batch);
      const longest = new Map<string, number>();
      for (const { result, seconds } of done) {
        const took = secondsByStage(result.trace!);
        for (const [stage, s] of took) longest.set(stage, Math.max(longest.get(stage) ?? 0, s));
        if (batch > 1) continue;
        this.latencySeconds.push(seconds);
        this.betweenSeconds.push(Math.max(0, seconds - longestWay(spec, took)));
        for (const [stage, bytes] of outputsByStage(result.trace!)) this.outputBytes.get(stage)!.push(bytes);
      }
      for (const [stage, s] of longest) found.get(stage)!.push(s);
    }
    const after = before === undefined ? undefined : await this.pipeline.status();
    for (const stage of spec.stages) {
      const samples = found.get(stage.name)!;
      if (batch === 1) this.seconds.get(stage.name)!.set(1, samples);
      else if (batchSizeOf(stage) > 1) {
        const [from, to] = [before!.stages[`${stage.name}/0`]?.batches, after!.stages[`${stage.name}/0`]?.batches];
        if (from === undefined || to === undefined) this.notes.push(`${stage.name} did not say how it batched`);
        else {
          const size = (to.tasks - from.tasks) / (to.started - from.started);
          if (Math.abs(size - batch) < ABOUT_ALL * batch) this.seconds.get(stage.name)!.set(batch, samples);
          else {
            const ran = `${stage.name} ran batches of ${size.toFixed(2)} tasks on average`;
            this.notes.push(`${ran} when ${batch} requests came together: no figure of that batch`);
          }
        }
      }
    }
  }

  // All have ended when it answers, also where one fails.
  private async together(count: number): Promise<{ result: PipelineResult; seconds: number }[]> {
    const all = await Promise.allSettled(Array.from({ length: count }, () => this.send()));
    return all.map((each) => {
      if (each.status === 'rejected') throw each.reason;
      return each.value;
    });
  }

  private async startAgain(stage: string): Promise<number> {
    const { pipeline, signal, settings } = this;
    await sleep(SETTLED_MS);
    const place = `${stage}/0`;
    const former = this.groups().get(stage);
    if (former === undefined) throw new RdmaError('RDMA_ERR_STAGE_FAILED', `${place} has no process`, { stage });
    process.kill(former, 'SIGKILL');
    const endMs = performance.now() + 2 * settings.startTimeoutMs;
    for (;;) {
      if (signal.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the measurement was stopped');
      const now = this.groups().get(stage);
      if (now !== undefined && now !== former) {
        const { supervision } = await pipeline.status();
        const { state, startMs, reason } = supervision[place]!;
        if (state === 'ready' && this.groups().get(stage) === now) return startMs! / 1000;
        if (reason !== undefined) throw reason;
      }
      if (performance.now() > endMs) {
        throw new RdmaError('RDMA_ERR_TIMEOUT', `${place} did not start again in ${2 * settings.startTimeoutMs} ms`);
      }
      await sleep(LOOK_MS);
    }
  }
}

/** The time in the handler of each stage, in seconds; of a stage whose instances share a request, the longest. */
export function secondsByStage({ tasks }: Trace): Map<string, number> {
  const longest = new Map<string, number>();
  for (const { stage, computeUs } of tasks) {
    longest.set(stage, Math.max(longest.get(stage) ?? 0, computeUs / 1e6));
  }
  return longest;
}

/** The bytes of each stage's output, to the one next stage that gets the most. */
export function outputsByStage({ hops }: Trace): Map<string, number> {
  const byWay = new Map<string, number>();
  const most = new Map<string, number>();
  for (const { from, to, bytes } of hops) {
    if (from === REQUEST || to === RESULT) continue;
    const sum = (byWay.get(`${from} ${to}`) ?? 0) + bytes;
    byWay.set(`${from} ${to}`, sum);
    most.set(from, Math.max(most.get(from) ?? 0, sum));
  }
  return most;
}

/** The longest way through the graph, in seconds, when each stage takes so long. */
export function longestWay(spec: WorkflowSpec, seconds: ReadonlyMap<string, number>): number {
  // The sum has the unit of what is summed: seconds here.
  return longestPathUs(graphOf(spec).before, (stage) => seconds.get(spec.stages[stage]!.name) ?? 0);
}
