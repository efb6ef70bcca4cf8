// Our own pipeline as it is imported.
//
// Invariant: nothing but the public interface of the package is used.
import type { LocalPipeline } from '../../cluster/index.js';
import { RdmaError, type RequestOptions } from '../../pipeline/index.js';
import { type OverloadSettings, slotsOf, STAGES } from './settings.js';
import type { Call, Outcome, OverloadSubject } from './subject.js';
import { type OverloadMeta, SIZE_VARIABLE } from './work.js';

/** Replacements while one instance is stopped and killed are no reason to give the pipeline up. */
const MAX_RESTARTS = 100;

export class LocalSubject implements OverloadSubject {
  readonly pipeline: LocalPipeline;
  private readonly settings: OverloadSettings;

  private constructor(pipeline: LocalPipeline, settings: OverloadSettings) {
    this.pipeline = pipeline;
    this.settings = settings;
  }

  /** @throws RdmaError as LocalPipeline.start() */
  static async open(settings: OverloadSettings): Promise<LocalSubject> {
    const { device, instances, concurrency, queued } = settings;
    process.env[SIZE_VARIABLE] = `${instances}x${concurrency}`;
    const [{ LocalPipeline }, { overloadWorkflow }] = await Promise.all([
      import('../../cluster/index.js'),
      import('./workflow.js'),
    ]);
    const options = { device, maxQueued: queued, maxRestarts: MAX_RESTARTS };
    return new LocalSubject(await LocalPipeline.start(overloadWorkflow, options), settings);
  }

  async call({ serviceMs, remainingMs, tenant, retryToken }: Call): Promise<Outcome> {
    const meta: OverloadMeta = { work: this.settings.work, ms: [...serviceMs] };
    const options: RequestOptions = { trace: false };
    if (remainingMs !== undefined) options.timeoutMs = Math.max(1, Math.ceil(remainingMs));
    if (tenant !== undefined) options.tenant = tenant;
    if (retryToken !== undefined) options.retryToken = retryToken;
    try {
      const { expectedMs } = await this.pipeline.run({ meta }, options);
      return { end: 'answered', predictedMs: expectedMs };
    } catch (error) {
      return outcomeOf(error);
    }
  }

  close(): Promise<void> {
    return this.pipeline.close();
  }
}

function outcomeOf(error: unknown): Outcome {
  if (!(error instanceof RdmaError)) return { end: 'failed', words: String(error) };
  const { code, message, retryAfterMs, retryToken } = error;
  if (code === 'RDMA_ERR_REJECTED') return { end: 'refused', retryAfterMs, retryToken };
  return code === 'RDMA_ERR_DEADLINE' ? { end: 'deadline' } : { end: 'failed', words: message };
}

/** Clients that keep every slot of every stage busy, with as many requests ready behind them. */
export function clientsOf(settings: OverloadSettings): number {
  return 2 * STAGES.length * slotsOf(settings);
}
