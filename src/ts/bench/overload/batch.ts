// Throughput with batches relative to single tasks: the same work by one instance, one after the other.
//
// Invariant: both are measured in the same way, in turn, in the same run: a closed loop with enough requests under way
// that the instance always has a next batch, counted from after the warm-up.
import { LocalPipeline } from '../../cluster/index.js';
import { BATCH_COST, BATCH_SIZE, type BatchMeta, type BatchWork, batchedTasks, singleTasks } from './batch-workflow.js';

/** How to measure. */
export interface BatchSettings {
  device?: string;
  work: BatchWork;
  /** What a single task costs, in ms. */
  taskMs: number;
  /** How long each of both is measured, in ms. */
  durationMs: number;
}

/** What was measured. */
export interface BatchResult {
  readonly work: BatchWork;
  readonly taskMs: number;
  readonly batchSize: number;
  readonly batchCost: number;
  /** Requests per second. */
  readonly single: number;
  readonly batched: number;
  /** `batched` / `single`. */
  readonly relative: number;
  /** What it would be if nothing but the work took time. */
  readonly ideal: number;
  readonly meanBatchSize: number;
}

/** Requests under way: what runs, what is there for the next batch, and as many again on their way. */
const CLIENTS = 4 * BATCH_SIZE;
const WARM_UP_TASKS = 4 * CLIENTS;

interface Measured {
  readonly perSecond: number;
  readonly meanBatchSize: number;
}

async function measure(
  flow: typeof singleTasks,
  { device = 'soft0', work, taskMs, durationMs }: BatchSettings,
): Promise<Measured> {
  await using pipeline = await LocalPipeline.start(flow, { device });
  const meta: BatchMeta = { work, ms: taskMs };
  let finished = 0;
  let startMs = Number.POSITIVE_INFINITY;
  let counted = 0;
  let over = false;
  const client = async () => {
    while (!over) {
      await pipeline.run({ meta });
      const nowMs = performance.now();
      if (++finished === WARM_UP_TASKS) startMs = nowMs;
      else if (nowMs > startMs) counted++;
      if (nowMs - startMs >= durationMs) over = true;
    }
  };
  const clients = Array.from({ length: CLIENTS }, client);
  await Promise.race(clients);
  const perSecond = (1000 * counted) / (performance.now() - startMs);
  await Promise.all(clients);
  const { batches } = (await pipeline.status()).stages['work/0'] ?? {};
  return { perSecond, meanBatchSize: batches === undefined ? 1 : batches.tasks / batches.started };
}

/**
 * Measures single tasks and then batches.
 *
 * @throws as LocalPipeline.start and LocalPipeline.run
 */
export async function measureBatch(settings: BatchSettings): Promise<BatchResult> {
  const single = await measure(singleTasks, settings);
  const batched = await measure(batchedTasks, settings);
  return {
    work: settings.work,
    taskMs: settings.taskMs,
    batchSize: BATCH_SIZE,
    batchCost: BATCH_COST,
    single: single.perSecond,
    batched: batched.perSecond,
    relative: batched.perSecond / single.perSecond,
    ideal: BATCH_SIZE / BATCH_COST,
    meanBatchSize: batched.meanBatchSize,
  };
}
