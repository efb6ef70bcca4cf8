// The retries of a request that is rejected.
//
// Invariant: it comes again only when the rejection said when, no earlier than that, and only if there is time left for
// it. Each try has the token of the rejection before it.
import { pause, type Timers } from '../core/deadline.js';
import type { RdmaError } from '../core/errors.js';
import type { PipelinePort } from './port.js';
import type { CheckedOptions, PipelineResult } from './request.js';

/** How much longer than told a caller waits before it tries again, at most. */
const RETRY_JITTER = 0.1;

/**
 * Tries a request, and again as often as its options say.
 *
 * @param tryOnce with what is left of the time, in ms, and the newest token
 * @throws RdmaError of the last try
 */
export async function runWithRetries(
  options: CheckedOptions,
  port: Pick<PipelinePort, 'nowUs' | 'random'> & { readonly clock: Timers },
  tryOnce: (options: CheckedOptions) => Promise<PipelineResult>,
): Promise<PipelineResult> {
  const { signal, timeoutMs } = options;
  const deadlineUs = timeoutMs === undefined ? Number.POSITIVE_INFINITY : port.nowUs() + timeoutMs * 1000;
  let { retryToken } = options;
  for (let left = options.retries; ; left--) {
    const leftMs = timeoutMs === undefined ? undefined : (deadlineUs - port.nowUs()) / 1000;
    try {
      return await tryOnce({ ...options, retryToken, timeoutMs: leftMs });
    } catch (error) {
      const { code, retryAfterMs, retryToken: next } = error as RdmaError;
      if (code !== 'RDMA_ERR_REJECTED' || retryAfterMs === undefined || left === 0) throw error;
      const waitMs = retryAfterMs * (1 + RETRY_JITTER * port.random());
      // There would be no time left for it.
      if (port.nowUs() + waitMs * 1000 >= deadlineUs) throw error;
      retryToken = next;
      await pause(waitMs, signal, port.clock);
    }
  }
}
