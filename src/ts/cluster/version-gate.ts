// One version of an app at one client: its pipeline, and the requests that are in it.
//
// Invariant: it is closed when no request is in it and none can come, and not before; a result that still lends its
// memory counts as a request in it.
import type { RdmaError } from '../core/errors.js';
import type { PipelineRequest, PipelineResult, RequestOptions } from '../pipeline/index.js';
import type { VersionCode } from './release-records.js';
import type { VersionPipeline } from './version-pipeline.js';

export class VersionGate {
  /** Requests that have not ended, and results that were not given back. */
  requests = 0;
  /** Whether requests may go to it. */
  isReady = false;
  /** Ends: no request goes to it any more. */
  closing: Promise<void> | undefined;
  /** Why it works no more, or did not come to work. */
  failure: RdmaError | undefined;

  constructor(
    readonly version: string,
    readonly code: VersionCode,
    readonly pipeline: VersionPipeline,
    /** Something has changed. */
    private readonly onChange: () => void,
  ) {}

  /** See Gateway.run. */
  async run(request: PipelineRequest, options: RequestOptions | undefined): Promise<PipelineResult> {
    this.requests++;
    let isLent = false;
    try {
      const result = await this.pipeline.run(request, options);
      if (options?.views !== true) return result;
      isLent = true;
      return this.lent(result);
    } finally {
      if (!isLent) this.end();
    }
  }

  private lent(result: PipelineResult): PipelineResult {
    let isBack = false;
    const release = () => {
      result.release();
      if (isBack) return;
      isBack = true;
      this.end();
    };
    return { ...result, release };
  }

  private end(): void {
    this.requests--;
    if (this.requests === 0) this.onChange();
  }

  /** Ends it. Requests that are in it fail. */
  close(): Promise<void> {
    this.closing ??= this.pipeline.close();
    return this.closing;
  }
}
