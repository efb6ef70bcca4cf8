// Our own pipeline as it is imported: LocalPipeline over the workflows of workflow.ts.
//
// Invariant: nothing but the public interface of the package is used.
import { LocalPipeline } from '../../cluster/index.js';
import { tensor } from '../../pipeline/index.js';
import type { Mode } from './settings.js';
import type { Shape } from './shape.js';
import type { Answer, Subject } from './subject.js';
import { PART, workflowOf } from './workflow.js';

export interface LocalOptions {
  device: string;
  shape: Shape;
  mode: Mode;
  /** Results are views of received memory, which are released; otherwise they are copies. */
  views: boolean;
  pollUs: number | null;
  sizeBytes: number;
  inFlight: number;
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
  static async open({ device, shape, mode, views, pollUs, sizeBytes, inFlight }: LocalOptions): Promise<LocalSubject> {
    const flow = workflowOf(shape, mode, sizeBytes);
    const options = { device, maxInFlight: inFlight, ...(pollUs === null ? {} : { pollUs }) };
    return new LocalSubject(await LocalPipeline.start(flow, options), views);
  }

  async request(bytes: Uint8Array): Promise<Answer> {
    const request = { parts: { [PART]: tensor('u8', [bytes.length], bytes) } };
    const result = await this.pipeline.run(request, { views: this.views });
    const { data } = result.outputs[0]!.parts[PART]!;
    return { bytes: data as Uint8Array, release: this.views ? () => result.release() : nothing };
  }

  close(): Promise<void> {
    return this.pipeline.close();
  }
}
