// What spans are made of a request, whoever makes them.
import type { Trace, TraceContext } from '../pipeline/index.js';

/** The span of one request. Ended once. */
export interface RequestSpan {
  /** Whether anybody keeps it: then the request is traced, so that it has spans for stages and hops. */
  readonly isRecording: boolean;
  /** To be handed on to other systems, as headers of W3C Trace Context. */
  readonly context: TraceContext;
  done(startedAtMs: number, totalUs: number, request: string, trace: Trace | undefined): void;
  failed(startedAtMs: number, totalUs: number, error: unknown): void;
}

/** The span of a request to a server. Ended once. */
export interface ServerSpan {
  /** What belongs to it; undefined: there is no trace. */
  readonly context: TraceContext | undefined;
  /** @param status of the answer; undefined: the client was gone before it */
  end(status: number | undefined): void;
}

/** Makes spans of what a server is asked. */
export interface ServerSpans {
  /**
   * @param route its pattern, never what a client has put into it
   * @param parent the headers of the client, where it has sent them
   */
  serve(method: string, route: string, parent: TraceContext | undefined): ServerSpan;
}

/** Makes spans of requests. */
export interface RequestSpans {
  /** @param parent the trace that the request belongs to; undefined: one of its own */
  begin(tenant: string, parent: TraceContext | undefined): RequestSpan;
}
