// A request whose result is read piece by piece.
//
// Invariant: the loop over it ends when the request has ended, and not before all of its pieces were read. Leaving the
// loop early gives the request up.
import { followAbort } from '../core/abort.js';
import { RdmaError } from '../core/errors.js';
import { checkAbortSignal } from '../core/validate.js';
import type { PipelineResult, RequestOptions } from './request.js';
import type { PieceEvent } from './stream-caller.js';

/** How to run a request that is read piece by piece: its tensors are always copies. */
export type StreamOptions = Omit<RequestOptions, 'onPiece' | 'views'>;

interface Waiting {
  readonly resolve: (result: IteratorResult<PieceEvent, undefined>) => void;
  readonly reject: (error: unknown) => void;
}

const END: IteratorResult<PieceEvent, undefined> = Object.freeze({ done: true, value: undefined });

/** Made by Gateway.stream(); read once, with `for await`. */
export class RequestStream implements AsyncIterableIterator<PieceEvent, undefined> {
  /** The whole result; rejects as run(). */
  readonly result: Promise<PipelineResult>;
  private readonly control = new AbortController();
  private events: PieceEvent[] = [];
  private waiting: Waiting[] = [];
  private ended = false;
  private failure: { error: unknown } | undefined; // to be thrown once

  /** @param run starts the request */
  constructor(run: (options: RequestOptions) => Promise<PipelineResult>, options: StreamOptions) {
    this.result = this.start(run, options);
    const end = () => this.end();
    this.result.then(end, (error: unknown) => {
      this.failure = { error };
      this.end();
    });
  }

  private async start(run: (options: RequestOptions) => Promise<PipelineResult>, options: StreamOptions) {
    const signal = checkAbortSignal('signal', options.signal);
    const stopListening = followAbort(signal, () => this.control.abort(signal?.reason));
    try {
      const onPiece = (event: PieceEvent) => this.take(event);
      return await run({ ...options, views: false, signal: this.control.signal, onPiece });
    } finally {
      stopListening();
    }
  }

  private take(event: PieceEvent): void {
    const waiting = this.waiting.shift();
    if (waiting === undefined) this.events.push(event);
    else waiting.resolve({ done: false, value: event });
  }

  private end(): void {
    this.ended = true;
    const waiting = this.waiting;
    this.waiting = [];
    for (const { resolve, reject } of waiting) {
      const failure = this.takeFailure();
      if (failure === undefined) resolve(END);
      else reject(failure.error);
    }
  }

  private takeFailure(): { error: unknown } | undefined {
    const { failure } = this;
    this.failure = undefined;
    return failure;
  }

  /** Itself: its pieces can be read once. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next piece, when it is there; done when the request has ended. */
  next(): Promise<IteratorResult<PieceEvent, undefined>> {
    const event = this.events.shift();
    if (event !== undefined) return Promise.resolve({ done: false, value: event });
    if (this.ended) {
      const failure = this.takeFailure();
      return failure === undefined ? Promise.resolve(END) : Promise.reject(failure.error);
    }
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  /** The reader leaves: the request is given up if it has not ended. */
  return(): Promise<IteratorResult<PieceEvent, undefined>> {
    this.events = [];
    this.failure = undefined;
    if (!this.ended) {
      this.ended = true;
      this.control.abort(new RdmaError('RDMA_ERR_ABORTED', 'nobody reads the result any more'));
      // It is known here that it fails now.
      this.result.catch(() => {});
      this.end();
    }
    return Promise.resolve(END);
  }
}
