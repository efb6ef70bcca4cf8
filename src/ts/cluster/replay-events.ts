// The check whether recorded decisions come out the same when they are made again.
//
// Invariant: pure. Each decision uses only its own event, so the order and gaps of a recording make no difference.
import { RdmaError } from '../core/errors.js';
import { checkObject } from '../core/validate.js';
import { type GpuDecision, type GpuEvent, replay, replayGpus, type ScaleEvent } from '../planner/policies.js';
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
  let decisions = 0;
  const differing = events.flatMap((event) => {
    const { type, sequence, inputs } = checkObject<ClusterEvent>('an event', event);
    const again = AGAIN[type];
    if (again === undefined) return [];
    decisions++;
    const words = madeAgain(sequence, () => again(inputs as unknown as never));
    return words === undefined ? [] : [{ sequence, words }];
  });
  return { decisions, differing };
}

/** By type of event: makes its decision again, and says how it differs. */
const AGAIN: Readonly<Record<string, (inputs: never) => string | undefined>> = {
  scale: (inputs: ScaleEvent) => {
    const [one] = replay([inputs]);
    if (one!.isSame) return undefined;
    const { type, to, reason } = one!.action;
    const was = one!.event.action;
    return `was ${was.type} to ${was.to} (${was.reason}), is ${type} to ${to} (${reason})`;
  },
  gpus: (inputs: GpuEvent) => {
    const { decision, isSame } = replayGpus(inputs);
    return isSame ? undefined : `was ${countsOf(inputs.decision)}, is ${countsOf(decision)}`;
  },
};

function countsOf({ moves, state }: GpuDecision): string {
  const counts = Object.entries(state.stages).map(([stage, { granted }]) => `${stage} ${granted ?? 'without limit'}`);
  return `${counts.join(', ')} by ${moves.length} moves`;
}

function madeAgain(sequence: number, again: () => string | undefined): string | undefined {
  try {
    return again();
  } catch (cause) {
    const text = `event ${sequence} cannot be made again: ${(cause as Error).message}`;
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', text, { cause });
  }
}
