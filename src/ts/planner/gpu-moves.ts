// Who has how many GPUs where there are not enough for all: who gives an instance's GPUs, and to whom.
//
// Invariant: pure; the state is a value that the caller keeps, so the same inputs make the same decisions again. Where
// there are enough, nothing is limited. Where not, the counts never need more GPUs than there are, and no stage is
// below its floor as long as the floors fit. A move without need makes the weighted parts of tasks in time larger, or
// brings stages nearer to their fair shares that no such move has taken away; so under one load there is no way back.
import { checkInteger, checkObject, checkString, invalidArgument } from '../core/validate.js';
import { Division } from './gpu-division.js';
import type { SloLoad } from './in-time.js';

const MAX_MS = 2 ** 31 - 1;
const MAX_COUNT = 2 ** 31 - 1;

/** How readily GPUs go from one stage to another. */
export interface GpuMovePolicy {
  /** At most so many instances get the GPUs of others within `windowMs`, 0 to 1000; default 8. 0: none does. */
  readonly perWindow: number;
  /** In ms; default 600 000. For so long nothing moves to a stage whose new instance did not come to work, too. */
  readonly windowMs: number;
  /** That part of what the receiver gains must be left when the givers' loss is taken off, 0 to 0.99; default 0.2. */
  readonly marginShare: number;
  /** So long after a move a stage neither gives nor receives, in ms; default 60 000. */
  readonly restMs: number;
  /** Gain and loss count for so long, in ms, 1000 or more; default 600 000. What an instance loads is no gain. */
  readonly horizonMs: number;
}

/** Without a word of the user. */
export const DEFAULT_GPU_MOVES: GpuMovePolicy = Object.freeze({
  perWindow: 8,
  windowMs: 600_000,
  marginShare: 0.2,
  restMs: 60_000,
  horizonMs: 600_000,
});

/** A stage that needs GPUs. */
export interface GpuStage {
  /** `WORKFLOW/STAGE`, unique. */
  readonly stage: string;
  /** Instances that it has. */
  readonly has: number;
  /** Instances that its policy, or its operator, wants. */
  readonly wanted: number;
  /** The fewest instances, where so many are wanted. */
  readonly min: number;
  /** GPUs of an instance, above 0; a part of one where it shares it. */
  readonly gpus: number;
  /** What it counts for beside the others, above 0. */
  readonly weight: number;
  /** How long an instance takes to start, in ms. */
  readonly loadMs: number;
  /** What its instances are there for; null: their number is counted by hand, and goes before all others. */
  readonly load: SloLoad | null;
  /** A further instance did not come to work, and that many were there before; null: none did not. */
  readonly refused: number | null;
}

/** Stages that may use the same GPUs. */
export interface GpuDemand {
  readonly gpus: number;
  readonly stages: readonly GpuStage[];
  /** What was found not to fit: `STAGE` a further instance on free GPUs, `GIVER>STAGE` on those of the giver. */
  readonly blocked: readonly string[];
}

/** What is remembered of a stage. */
export interface GpuStageState {
  /** How many instances it may have; null: as many as it wants. */
  readonly granted: number | null;
  /** When it last gave or received; null: never. */
  readonly movedMs: number | null;
  /** When a further instance last did not come to work, and how many there were. */
  readonly failed: { readonly atMs: number; readonly count: number } | null;
}

/** `JSON.parse(JSON.stringify(state))` is the same state. */
export interface GpuState {
  readonly stages: Readonly<Record<string, GpuStageState>>;
  /** When each of the last moves was, as many as may count for the budget. */
  readonly moves: readonly number[];
}

/** Why GPUs are taken. */
export type GpuMoveReason =
  | 'gain' // more tasks are in time
  | 'share' // the receiver is late and has less than its fair share, the givers have more
  | 'least' // the receiver is below its floor
  | 'lost'; // there are fewer GPUs than before

/** GPUs that are taken from stages, for one instance of another. */
export interface GpuMove {
  readonly reason: GpuMoveReason;
  /** null: nobody. */
  readonly to: string | null;
  readonly givers: readonly { readonly stage: string; readonly instances: number }[];
  /** By how much the part of the receiver's tasks that are in time grows within the horizon, with its weight. */
  readonly gain: number;
  /** By how much those of the givers shrink, with their weights. */
  readonly loss: number;
}

/** What was decided. */
export interface GpuDecision {
  readonly moves: readonly GpuMove[];
  /** To be kept for the next call. */
  readonly state: GpuState;
}

/** One decision with all that it was made of. */
export interface GpuEvent {
  readonly type: 'gpus';
  readonly atMs: number;
  readonly demand: GpuDemand;
  readonly policy: GpuMovePolicy;
  readonly before: GpuState;
  readonly decision: GpuDecision;
}

/** Nothing has been decided. */
export const NO_GPU_STATE: GpuState = Object.freeze({ stages: {}, moves: [] });

/**
 * How many instances a stage may have.
 *
 * @param wanted by its policy
 * @param granted of {@link GpuStageState}; null, undefined: no limit
 * @returns never fewer than `min` and one, where so many are wanted: what does not fit then is placement's to say
 */
export function allowedOf(wanted: number, min: number, granted: number | null | undefined): number {
  return granted === null || granted === undefined ? wanted : Math.min(wanted, Math.max(granted, min, 1));
}

/**
 * Divides the GPUs that some stages share, from what each of them was given before.
 *
 * The steps, in this order. A stage that wants fewer instances than it has gives up the rest. If there are fewer GPUs
 * than before, the stages that lose least give. A stage below its floor (all that it wants where an operator set its
 * count, otherwise `min`, at least one) takes free GPUs, and then those of the stages that lose least. GPUs that are
 * still free go to the stages that gain most. Last, a stage gets the GPUs of one more instance from others if it gains
 * more than they lose, by the margin, or if it is late with less than its fair share while they keep theirs. For that,
 * all of them must have rested, the budget must not be used up, and every giver must either stay within its own SLO or
 * hold more than its fair share.
 *
 * @param nowMs on a monotonic clock
 * @param before the state of the last call; default nothing
 * @returns the moves, and how many instances each stage may have, in the state
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the field
 */
export function moveGpus(
  demand: GpuDemand,
  policy: GpuMovePolicy,
  nowMs: number,
  before: GpuState = NO_GPU_STATE,
): GpuDecision {
  checkDemand(demand);
  checkGpuMoves(policy);
  if (!Number.isFinite(nowMs)) throw invalidArgument('nowMs', nowMs, 'a number of ms');
  const known = checkObject<GpuState>('before', before);
  checkObject('before.stages', known.stages);
  if (!Array.isArray(known.moves)) throw invalidArgument('before.moves', known.moves, 'a list of ms');
  return new Division(demand, policy, nowMs, known).decide();
}

/** Decides like {@link moveGpus}, and says what the decision was made of. */
export function decideGpus(demand: GpuDemand, policy: GpuMovePolicy, nowMs: number, before: GpuState): GpuEvent {
  return { type: 'gpus', atMs: nowMs, demand, policy, before, decision: moveGpus(demand, policy, nowMs, before) };
}

/**
 * Makes a recorded decision again.
 *
 * @param event as JSON has kept it
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for an event that is none
 */
export function replayGpus(event: GpuEvent): { readonly decision: GpuDecision; readonly isSame: boolean } {
  const { demand, policy, atMs, before, decision: recorded } = checkObject<GpuEvent>('event', event);
  const decision = moveGpus(demand, policy, atMs, checkObject<GpuState>('before of an event', before));
  return { decision, isSame: JSON.stringify(decision) === JSON.stringify(recorded) };
}

function checkMs(name: string, ms: unknown, min = 0): void {
  if (!(typeof ms === 'number' && ms >= min && ms <= MAX_MS)) {
    throw invalidArgument(name, ms, `ms from ${min} to ${MAX_MS}`);
  }
}

/** Checks how GPUs move. @returns it @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the field */
export function checkGpuMoves(policy: GpuMovePolicy): GpuMovePolicy {
  const given = checkObject<GpuMovePolicy>('gpuMoves', policy);
  checkInteger('gpuMoves.perWindow', given.perWindow, 0, 1000);
  checkMs('gpuMoves.windowMs', given.windowMs);
  checkMs('gpuMoves.restMs', given.restMs);
  checkMs('gpuMoves.horizonMs', given.horizonMs, 1000);
  if (!(given.marginShare >= 0 && given.marginShare <= 0.99)) {
    throw invalidArgument('gpuMoves.marginShare', given.marginShare, 'a number from 0 to 0.99');
  }
  return given;
}

function checkDemand(demand: GpuDemand): void {
  const { gpus, stages, blocked } = checkObject<GpuDemand>('demand', demand);
  if (!(gpus >= 0 && gpus <= MAX_COUNT)) throw invalidArgument('demand.gpus', gpus, 'a number of GPUs, 0 or more');
  if (!Array.isArray(stages)) throw invalidArgument('demand.stages', stages, 'a list');
  if (!Array.isArray(blocked)) throw invalidArgument('demand.blocked', blocked, 'a list');
  const names = new Set<string>();
  for (const each of stages as readonly GpuStage[]) {
    const name = checkString('stage', checkObject<GpuStage>('a stage', each).stage);
    if (names.has(name)) throw invalidArgument('demand.stages', name, 'a list that names each stage once');
    names.add(name);
    for (const field of ['has', 'wanted', 'min'] as const) {
      checkInteger(`${field} of ${name}`, each[field], 0, MAX_COUNT);
    }
    if (each.refused !== null) checkInteger(`refused of ${name}`, each.refused, 0, MAX_COUNT);
    for (const field of ['gpus', 'weight'] as const) {
      if (!(each[field] > 0 && each[field] <= MAX_COUNT)) {
        throw invalidArgument(`${field} of ${name}`, each[field], 'a number above 0');
      }
    }
    checkMs(`loadMs of ${name}`, each.loadMs);
    if (each.load === null) continue;
    const { rate, serviceMs, sloMs, slots } = checkObject<SloLoad>(`load of ${name}`, each.load);
    if (!(rate >= 0 && rate <= MAX_COUNT)) throw invalidArgument(`rate of ${name}`, rate, 'a number per ms, 0 or more');
    checkMs(`serviceMs of ${name}`, serviceMs);
    checkMs(`sloMs of ${name}`, sloMs);
    checkInteger(`slots of ${name}`, slots, 1, 128);
    const { quantile } = each.load;
    if (!(quantile >= 0.5 && quantile <= 0.9999)) {
      throw invalidArgument(`quantile of ${name}`, quantile, 'a number from 0.5 to 0.9999');
    }
  }
}
