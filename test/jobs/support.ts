// What the tests of jobs share: runners that do what a test says, requests, and clocks.
//
// Invariant: a runner here computes its result from the request, so a result of another request is noticed.
import { type JobRunner, JobService, type JobServiceOptions, type JobStore } from '../../src/ts/jobs/index.js';
import {
  RdmaError,
  type PipelineRequest,
  type PipelineResult,
  type RequestOptions,
  tensor,
} from '../../src/ts/pipeline/index.js';

/** A request whose result is known: each element plus one. */
export function numbered(value: number, length = 4): PipelineRequest {
  return { meta: { value }, parts: { x: tensor('f32', [length], new Float32Array(length).fill(value)) } };
}

/** What the runners here make of a request. */
export function resultOf(request: PipelineRequest): PipelineResult {
  const { data } = request.parts?.x ?? { data: new Float32Array(0) };
  const y = tensor(
    'f32',
    [data.length],
    Float32Array.from(data as Float32Array, (value) => value + 1),
  );
  const { value = -1 } = request.meta ?? {};
  const outputs = [{ stage: 'add', instance: 0, meta: { value }, parts: { y } }];
  return { request: 'gateway/0', outputs, trace: undefined, expectedMs: undefined, release: () => {} };
}

/** The number that a result was made of; throws when the result is not whole. */
export function numberOf({ outputs }: PipelineResult): number {
  const { meta, parts } = outputs[0]!;
  const value = Number(meta.value);
  const { data } = parts.y!;
  for (const element of data) if (element !== value + 1) throw new Error(`${element} in the result of ${value}`);
  return value;
}

/** A runner that answers at once, and counts. */
export class CountingRunner implements JobRunner {
  /** How often each value was run. */
  readonly runs = new Map<number, number>();

  async run(request: PipelineRequest): Promise<PipelineResult> {
    const value = Number(request.meta?.value);
    this.runs.set(value, (this.runs.get(value) ?? 0) + 1);
    return resultOf(request);
  }
}

/** A runner whose requests wait until they are let go; an abort ends them. */
export class HeldRunner implements JobRunner {
  readonly begun: number[] = [];
  /** Whether a stage begins what comes, or it waits before the stages. */
  tellsTasks = true;
  readonly aborted: number[] = [];
  private waiting: (() => void)[] = [];
  private isOpen = false;

  async run(request: PipelineRequest, { signal, onTask }: RequestOptions = {}): Promise<PipelineResult> {
    const value = Number(request.meta?.value);
    this.begun.push(value);
    if (this.tellsTasks) onTask?.({ type: 'task', request: `${value}`, stage: 'add', instance: 0 });
    if (!this.isOpen) {
      await new Promise<void>((resolve, reject) => {
        this.waiting.push(resolve);
        signal?.addEventListener('abort', () => {
          this.aborted.push(value);
          reject(new RdmaError('RDMA_ERR_ABORTED', 'the request was aborted'));
        });
      });
    }
    return resultOf(request);
  }

  /** Lets all go, those to come too. */
  open(): void {
    this.isOpen = true;
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}

interface Test {
  teardown(work: () => Promise<void> | void): void;
}

/** A service that ends with the test. */
export async function serve(
  t: Test,
  store: JobStore,
  runner: JobRunner,
  options: Partial<JobServiceOptions> = {},
): Promise<JobService> {
  const service = await JobService.open({ store, runner, ...options });
  t.teardown(() => service.close());
  return service;
}
