// Decisions as events, from which they can be made again.
//
// Invariant: an event holds everything that its decision was made of, and survives JSON: replaying it makes the same
// decision, to the last number.
import { RdmaError } from '../core/errors.js';
import { checkObject, checkOneOf } from '../core/validate.js';
import { firstState, type ScaleAction, type ScalePolicy, type ScaleState, type StageLoad, scale } from './scaling.js';

/** One decision with all that it was made of. As JSON it is one line of `onepiece events`. */
export interface ScaleEvent {
  readonly type: 'scale';
  readonly atMs: number;
  readonly load: StageLoad;
  readonly policy: ScalePolicy;
  readonly before: ScaleState;
  readonly action: ScaleAction;
}

/** Decides like {@link scale}, and says what the decision was made of. */
export function decide(load: StageLoad, policy: ScalePolicy, nowMs: number, before = firstState(nowMs)): ScaleEvent {
  return { type: 'scale', atMs: nowMs, load, policy, before, action: scale(load, policy, nowMs, before) };
}

/**
 * Makes the decisions of recorded events again.
 *
 * @param events as JSON has kept them
 * @returns for each event whether the same decision comes out, and which one does
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for an event that is none
 */
export function replay(events: readonly ScaleEvent[]): { event: ScaleEvent; action: ScaleAction; isSame: boolean }[] {
  if (!Array.isArray(events)) throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'events must be a list');
  return (events as readonly ScaleEvent[]).map((event) => {
    const { type, load, policy, atMs, before, action: recorded } = checkObject<ScaleEvent>('event', event);
    checkOneOf('type of an event', type, ['scale']);
    checkObject('before of an event', before);
    const action = scale(load, policy, atMs, before);
    return { event, action, isSame: JSON.stringify(action) === JSON.stringify(recorded) };
  });
}
