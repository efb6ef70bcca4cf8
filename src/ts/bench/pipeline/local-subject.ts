// Our own pipeline as it is imported: LocalPipeline over the workflows of workflow.ts.
//
// Invariant: nothing but the public interface of the package is used.
import { LocalPipeline } from '../../cluster/index.js';
import { type PipelineResult, tensor } from '../../pipeline/index.js';
import type { Mode } from './settings.js';
import type { Shape } from './shape.js';
import { type Answer, notInThisPipeline, type Subject } from './subject.js';
import { PART, workflowOf } from './workflow.js';

export interface LocalOptions {
  device: string;
  shape: Shape;
  mode: Mode;
  /** Results are views of received memory, which are released; otherwise they are copies. */
  views: boolean;
  sizeBytes: number;
  inFlight: number;
}

/** What a result has that was asked for as views. */
interface ViewResult extends PipelineResult {
  release(): void;
}

const nothing = () => {};

export class LocalSubject implements Subject {
  readonly failed = undefined;
  private readonly pipeline: LocalPipeline;
  private readonly views: boolean;

  private constructor(pipeline: LocalPipeline, views: boolean) {
    this.pipeline = pipeline;
    this.views = views;
  }

  /** @throws RdmaError as LocalPipeline.start() */
  static async open({ device, shape, mode, views, sizeBytes, inFlight }: LocalOptions): Promise<LocalSubject> {
    const flow = workflowOf(shape, mode, sizeBytes);
    return new LocalSubject(await LocalPipeline.start(flow, { device, maxInFlight: inFlight }), views);
  }

  async request(bytes: Uint8Array): Promise<Answer> {
    const request = { parts: { [PART]: tensor('u8', [bytes.length], bytes) } };
    if (!this.views) {
      const result = await this.pipeline.run(request);
      return { bytes: result.outputs[0]!.parts[PART]!.data as Uint8Array, release: nothing };
    }
    const options: { timeoutMs?: number; views: true } = { views: true };
    const result = (await this.pipeline.run(request, options)) as ViewResult;
    if (typeof result.release !== 'function') throw notInThisPipeline('results as views', 'leave out --views');
    return { bytes: result.outputs[0]!.parts[PART]!.data as Uint8Array, release: () => result.release() };
  }

  close(): Promise<void> {
    return this.pipeline.close();
  }
}
