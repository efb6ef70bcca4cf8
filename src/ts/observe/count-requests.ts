// Follows the requests of a pipeline into a log, and into spans where somebody wants them.
//
// Invariant: a request costs some additions, and is counted once, when it ends.
import { performance } from 'node:perf_hooks';
import type { RequestWatcher } from '../cluster/index.js';
import type { RequestLog } from './request-log.js';
import type { RequestSpans } from './spans.js';

const DEFAULT_TENANT = 'default';
const MAX_TENANT = 64;

/** A watcher, for `watchRequests` of a pipeline, that counts each request in `log`. */
export function countRequests(log: RequestLog, spans: RequestSpans | undefined): RequestWatcher {
  // The options are not checked yet.
  return (options) => {
    const tenant = typeof options.tenant === 'string' ? options.tenant.slice(0, MAX_TENANT) : DEFAULT_TENANT;
    const startedAt = performance.now();
    const span = spans?.begin(tenant, options.traceContext);
    return {
      trace: span?.isRecording ?? false,
      traceContext: span?.isRecording ? span.context : undefined,
      onEnd: (end) => {
        const totalUs = (performance.now() - startedAt) * 1000;
        const startedAtMs = performance.timeOrigin + startedAt;
        if ('result' in end) {
          const { request, trace } = end.result;
          log.done(tenant, startedAtMs, totalUs, request, trace);
          span?.done(startedAtMs, totalUs, request, trace);
        } else {
          log.failed(tenant, startedAtMs, totalUs, end.error);
          span?.failed(startedAtMs, totalUs, end.error);
        }
      },
    };
  };
}
