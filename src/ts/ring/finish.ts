// The last wait of an outbox: close() waits for sent messages, and counts those that it gives up.
//
// Invariant: it waits only while there is something to wait for, and never longer than its limit.
import { RdmaError } from '../core/errors.js';
import type { OutboxRest } from './outbox-options.js';
import type { RetainedMessages } from './retained-messages.js';
import type { SendPath } from './send-path.js';
import type { WaitList } from './wait-list.js';

/** What there is to finish. */
export interface FinishParts {
  sendPath: SendPath;
  retained: RetainedMessages;
  /** Woken whenever something was acknowledged; rejected when nothing will be any more. */
  progress: WaitList;
  /** Called when waiting begins. */
  onWait: () => void;
}

/** Ends when everything that was sent is acknowledged, when `closeMs` are over, or when nothing is sent any more. */
export async function finishSending(parts: FinishParts, closeMs: number): Promise<void> {
  const { sendPath, retained, progress, onWait } = parts;
  if (closeMs === 0) return;
  sendPath.uncorkAll();
  const done = () => (sendPath.waiting === 0 && retained.acknowledged >= retained.lastReady ? 1 : 0);
  if (done() === 1) return;
  const finished = progress.wait(done, closeMs, undefined, 'the last acknowledgement');
  onWait();
  await finished.catch(() => {}); // the caller counts what is left
}

/** What is given up now. @param published everything up to this sequence was written to a lane at some time */
export function restOf(retained: RetainedMessages, published: number): OutboxRest {
  return { unacknowledged: retained.readyAfter(0), unwritten: retained.readyAfter(published) };
}

/** Why the rest was given up. */
export function abandoned({ unacknowledged, unwritten }: OutboxRest, closeMs: number): RdmaError {
  const rest = `${unacknowledged} messages that were not acknowledged, ${unwritten} of them not written`;
  const text = `closed after ${closeMs} ms with ${rest}`;
  const remedy = 'await whenAcknowledged() before close(), or raise closeMs';
  return new RdmaError('RDMA_ERR_TIMEOUT', text, { remedy });
}
