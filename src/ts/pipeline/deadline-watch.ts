// The watch over the deadline of one request.
//
// Invariant: a request ends when its time is over. While it waits it ends as soon as it cannot be done in time any
// more, as far as costs are known.
import type { Timers } from '../core/deadline.js';
import { RdmaError } from '../core/errors.js';
import type { PipelinePort } from './port.js';
import type { RequestKeeper } from './request-keeper.js';
import type { Ticket } from './ticket.js';

/** Whether a request that takes less than that may still be done is not watched while it waits. */
const MIN_WATCHED_MS = 1;

/**
 * Watches a request that has a deadline.
 *
 * @param keeper ends it
 * @param timeoutMs what the error says of it
 * @param aloneMs what the request takes if nothing is ahead of it; NaN: nobody knows
 * @returns ends the watch
 */
export function watchDeadline(
  ticket: Ticket,
  port: Pick<PipelinePort, 'nowUs'> & { readonly clock: Timers },
  keeper: Pick<RequestKeeper, 'cancel' | 'endHopeless' | 'learnLate'>,
  timeoutMs: number,
  aloneMs: number,
): () => void {
  const { clock } = port;
  const text = `no result within ${Math.round(timeoutMs)} ms`;
  let stop: () => void;
  const late = () => {
    keeper.learnLate(ticket, ticket.deadlineUs - ticket.queuedAtUs);
    keeper.cancel(ticket, new RdmaError('RDMA_ERR_DEADLINE', text));
  };
  const leftMs = () => Math.max(0, (ticket.deadlineUs - port.nowUs()) / 1000);
  if (ticket.number > 0 || !(aloneMs >= MIN_WATCHED_MS && aloneMs < leftMs())) {
    stop = clock.after(leftMs(), late);
  } else {
    stop = clock.after(leftMs() - aloneMs, () => {
      if (keeper.endHopeless(ticket)) return;
      stop = clock.after(leftMs(), late);
    });
  }
  return () => stop();
}
