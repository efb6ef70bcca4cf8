// A job as its user holds it.
//
// Invariant: it holds nothing but the id: every answer is what is known now.
import { checkAbortSignal, checkInteger, checkObject } from '../core/validate.js';
import type { PieceEvent, PipelineResult } from '../pipeline/index.js';
import type { Job, JobEvent, JobRecord } from './job.js';

/** What a handle asks. */
export interface JobSource {
  record(id: string): Promise<JobRecord>;
  events(id: string, after: number, signal: AbortSignal | undefined): AsyncGenerator<JobEvent>;
  pieces(id: string, signal: AbortSignal | undefined): AsyncGenerator<PieceEvent>;
  result(id: string, signal: AbortSignal | undefined): Promise<PipelineResult>;
  cancel(id: string): Promise<boolean>;
}

/** @internal */
export class JobHandle implements Job {
  constructor(
    readonly id: string,
    private readonly source: JobSource,
  ) {}

  record(): Promise<JobRecord> {
    return this.source.record(this.id);
  }

  events(options: { after?: number; signal?: AbortSignal } = {}): AsyncIterable<JobEvent> {
    checkObject('options', options);
    const after = checkInteger('after', options.after ?? 0, 0);
    return this.source.events(this.id, after, checkAbortSignal('signal', options.signal));
  }

  pieces(options: { signal?: AbortSignal } = {}): AsyncIterable<PieceEvent> {
    checkObject('options', options);
    return this.source.pieces(this.id, checkAbortSignal('signal', options.signal));
  }

  async result(options: { signal?: AbortSignal } = {}): Promise<PipelineResult> {
    checkObject('options', options);
    return this.source.result(this.id, checkAbortSignal('signal', options.signal));
  }

  cancel(): Promise<boolean> {
    return this.source.cancel(this.id);
  }
}
