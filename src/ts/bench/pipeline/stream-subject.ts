// Our own pipeline as a caller uses it who takes results piece by piece.
//
// Invariant: as local-subject.ts; a result is there when its last piece is.
import { LocalPipeline } from '../../cluster/index.js';
import { numberIn } from './request-bytes.js';
import { streamWorkflow, type StreamRequest } from './stream-workflow.js';
import type { Answer, Subject } from './subject.js';
import { PART } from './workflow.js';

export interface StreamOptions {
  device: string;
  /** Pieces are views of received memory; otherwise each is copied as it comes. */
  views: boolean;
  pollUs: number | null;
  sizeBytes: number;
  pieces: number;
}

const nothing = () => {};

export class StreamSubject implements Subject {
  readonly failed = undefined;
  private readonly pipeline: LocalPipeline;
  private readonly options: StreamOptions;

  private constructor(pipeline: LocalPipeline, options: StreamOptions) {
    this.pipeline = pipeline;
    this.options = options;
  }

  /** @throws RdmaError as LocalPipeline.start() */
  static async open(options: StreamOptions): Promise<StreamSubject> {
    const { device, pollUs, sizeBytes } = options;
    const flow = streamWorkflow(sizeBytes);
    const pipeline = await LocalPipeline.start(flow, {
      device,
      maxInFlight: 1,
      ...(pollUs === null ? {} : { pollUs }),
    });
    return new StreamSubject(pipeline, options);
  }

  /** @param bytes of which only the number goes through the pipeline */
  async request(bytes: Uint8Array): Promise<Answer> {
    const { views, sizeBytes, pieces } = this.options;
    const request: StreamRequest = { number: numberIn(bytes), sizeBytes, pieces };
    const result = await this.pipeline.run({ meta: { ...request } }, { views, onPiece: nothing });
    const came = result.outputs[0]!.pieces!.map(({ parts }) => parts[PART]!.data as Uint8Array);
    return { bytes: came, release: views ? () => result.release() : nothing };
  }

  close(): Promise<void> {
    return this.pipeline.close();
  }
}
