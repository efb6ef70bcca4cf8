// The watchers of the requests of a pipeline: metrics, dashboards, traces.
//
// Invariant: a pipeline without watchers does no work for them. A watcher harms no request: its first error becomes a
// warning of Node.js. For each request whose beginning it got, it gets the end, once.
import type { PipelineResult, RequestOptions, TraceContext } from '../pipeline/index.js';
import { tellerOf } from '../core/event-teller.js';

/** How a request ended: with its result, or with the error that its caller gets. */
export type RequestEnd = { readonly result: PipelineResult } | { readonly error: unknown };

/** What a watcher wants of one request. */
export interface WatchedRequest {
  /** Whether it has to be traced; default: as its caller wants it. */
  readonly trace?: boolean;
  /** The trace that handlers find, in place of the caller's; default: the caller's. */
  readonly traceContext?: TraceContext | undefined;
  /** Called once. The result's tensors are the caller's: only its trace may be kept. */
  readonly onEnd: (end: RequestEnd) => void;
}

/**
 * Called when a request begins, with the options of its caller. What it answers: undefined, it does not follow this
 * one.
 */
export type RequestWatcher = (options: RequestOptions) => WatchedRequest | undefined;

export class RequestWatch {
  private watchers: ((begin: Begin) => void)[] = [];

  get isWatched(): boolean {
    return this.watchers.length > 0;
  }

  /** @returns ends the watching; requests that it follows already are followed to their end */
  add(watcher: RequestWatcher): () => void {
    const tellEnd = tellerOf<() => void>('a watcher of requests', (tell) => tell());
    const watch = tellerOf<Begin>('a watcher of requests', (begin) => {
      const watched = watcher(begin.options);
      if (watched === undefined) return;
      begin.traced ||= watched.trace === true;
      begin.traceContext = watched.traceContext ?? begin.traceContext;
      begin.followers.push((end) => tellEnd(() => watched.onEnd(end)));
    });
    this.watchers.push(watch);
    return () => {
      this.watchers = this.watchers.filter((other) => other !== watch);
    };
  }

  /** Runs a request, and tells those that watch. */
  run(options: RequestOptions, run: (options: RequestOptions) => Promise<PipelineResult>): Promise<PipelineResult> {
    const begin: Begin = { options, traced: false, traceContext: undefined, followers: [] };
    for (const watch of this.watchers) watch(begin);
    const { followers, traced, traceContext } = begin;
    const more = {
      ...(traced && options.trace === undefined ? { trace: true } : {}),
      ...(traceContext === undefined ? {} : { traceContext }),
    };
    const answer = run({ ...options, ...more });
    if (followers.length === 0) return answer;
    const tell = (end: RequestEnd) => {
      for (const follower of followers) follower(end);
    };
    answer.then(
      (result) => tell({ result }),
      (error: unknown) => tell({ error }),
    );
    return answer;
  }
}

interface Begin {
  readonly options: RequestOptions;
  traced: boolean;
  traceContext: TraceContext | undefined;
  readonly followers: ((end: RequestEnd) => void)[];
}
