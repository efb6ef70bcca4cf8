// Whether recorded decisions come out the same when they are made again.
//
// Invariant: pure. Each decision is made of what its own event holds, so the order and gaps of a record make no
// difference.
import { RdmaError } from '../core/errors.js';
import { checkObject } from '../core/validate.js';
import { replay, type ScaleEvent } from '../planner/index.js';
import type { ClusterEvent } from './cluster-events.js';

/** What came of making recorded decisions again. */
export interface ReplayedEvents {
  /** How many decisions were made again. */
  readonly decisions: number;
  readonly differing: readonly { readonly sequence: number; readonly words: string }[];
}

/**
 * Makes the decisions of events again; events that are none of the policy's are left out.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for an event that holds no decision, with its sequence
 */
export function replayEvents(events: readonly ClusterEvent[]): ReplayedEvents {
  if (!Array.isArray(events)) throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'events must be a list');
  const scales = events.filter((event) => checkObject<ClusterEvent>('an event', event).type === 'scale');
  const differing = scales.flatMap(({ sequence, inputs }) => {
    const [one] = again(sequence, inputs as unknown as ScaleEvent);
    if (one!.isSame) return [];
    const { type, to, reason } = one!.action;
    const was = one!.event.action;
    return [{ sequence, words: `was ${was.type} to ${was.to} (${was.reason}), is ${type} to ${to} (${reason})` }];
  });
  return { decisions: scales.length, differing };
}

function again(sequence: number, event: ScaleEvent) {
  try {
    return replay([event]);
  } catch (cause) {
    const words = `event ${sequence} cannot be made again: ${(cause as Error).message}`;
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', words, { cause });
  }
}
