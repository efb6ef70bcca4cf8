// The range within which the instances of a stage may be scaled, and the goal.
//
// Invariant: a checked spec is plain numbers within their ranges, frozen; a missing field means the policy's default
// (planner/scaling.ts). It is only a request: a pipeline with fixed instances, such as one on a single host, ignores
// it.
import { RdmaError } from '../core/errors.js';
import { checkInteger, checkObject, invalidArgument } from '../core/validate.js';

/** How a stage is scaled, as its author says it. */
export interface StageScaleInput extends Partial<Omit<StageScale, 'sloMs'>>, Pick<StageScale, 'sloMs'> {
  /**
   * After so long without a request only `min` instances are left, in ms: the same as `zeroAfterMs` with
   * `zeroAfterGaps` 0, and not beside these. An instance stays for half of the time that it takes to start in any case.
   */
  readonly idleMs?: number | undefined;
}

/** How a stage of a cluster is scaled by its load. Names are those of ScalePolicy, which says more of each. */
export interface StageScale {
  /** The fewest instances, from 0; default 1. With 0 a stage to which nothing comes has none. */
  readonly min: number;
  /** The most instances, to 64; default 64. */
  readonly max: number;
  /** A task shall be done that long after it could begin, in ms; there is no default: nobody else can know it. */
  readonly sloMs: number;
  /** The part of tasks that shall be in time, 0.5 to 0.9999. */
  readonly quantile?: number;
  /** How sure it must be that the rate is another one, 1 to 40; less is quicker, for more actions. */
  readonly evidence?: number;
  /** Fewer instances must have been enough for that long, in ms, before one ends. */
  readonly downAfterMs?: number;
  /**
   * Nothing must have come for that long, in ms, and for as long as so many arrivals take, before only `min` are left.
   */
  readonly zeroAfterMs?: number;
  readonly zeroAfterGaps?: number;
  /** An action that was not carried out after that long, in ms, counts as lost. */
  readonly confirmMs?: number;
  /** How long an instance takes to start, with its model, in ms, until that was measured. */
  readonly loadMs?: number;
}

const MOST = 64;
const MAX_MS = 2 ** 31 - 1;
const RANGES = {
  quantile: [0.5, 0.9999],
  evidence: [1, 40],
  downAfterMs: [0, MAX_MS],
  zeroAfterMs: [0, MAX_MS],
  zeroAfterGaps: [0, 100],
  confirmMs: [0, MAX_MS],
  loadMs: [0, MAX_MS],
} as const satisfies Partial<Record<keyof StageScale, readonly [number, number]>>;
const FIELDS: readonly string[] = ['min', 'max', 'sloMs', 'idleMs', ...Object.keys(RANGES)];

/**
 * Checks how a stage is scaled.
 *
 * @param stage its name, for errors
 * @param input see {@link StageScaleInput}
 * @param spread of the stage: only instances of which each takes whole requests can be scaled
 * @returns the same, frozen, with `idleMs` as the fields that it abbreviates
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the field
 */
export function checkScale(stage: string, input: unknown, spread: string): StageScale {
  const name = `scale of stage ${stage}`;
  const given = withoutIdle(name, checkObject<Partial<StageScaleInput>>(name, input));
  for (const key of Object.keys(given)) {
    if (FIELDS.includes(key)) continue;
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${name} has no field ${key.slice(0, 60)}`, {
      remedy: `there are ${FIELDS.join(', ')}`,
    });
  }
  if (spread !== 'route') {
    const text = `stage ${stage} spreads requests by ${spread}: how many instances share one is no matter of load`;
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', text, { remedy: 'leave out scale, or spread' });
  }
  const max = checkInteger(`max in ${name}`, given.max ?? MOST, 1, MOST);
  const min = checkInteger(`min in ${name}`, given.min ?? 1, 0, max);
  const { sloMs } = given;
  if (!isWithin(sloMs, 1, MAX_MS)) throw invalidArgument(`sloMs in ${name}`, sloMs, `ms from 1 to ${MAX_MS}`);
  const checked: Record<string, number> = { min, max, sloMs };
  for (const [field, [least, most]] of Object.entries(RANGES)) {
    const value = given[field as keyof typeof RANGES];
    if (value === undefined) continue;
    if (!isWithin(value, least, most))
      throw invalidArgument(`${field} in ${name}`, value, `a number from ${least} to ${most}`);
    checked[field] = value;
  }
  return Object.freeze(checked) as unknown as StageScale;
}

function withoutIdle(name: string, input: Partial<StageScaleInput>): Partial<StageScale> {
  const { idleMs, ...given } = input;
  if (idleMs === undefined) return given;
  if (!isWithin(idleMs, 0, MAX_MS)) throw invalidArgument(`idleMs in ${name}`, idleMs, `ms from 0 to ${MAX_MS}`);
  for (const field of ['zeroAfterMs', 'zeroAfterGaps'] as const) {
    if (given[field] === undefined) continue;
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${name} has both idleMs and ${field}`, {
      remedy: 'leave one out: idleMs means zeroAfterMs with zeroAfterGaps 0',
    });
  }
  return { ...given, zeroAfterMs: idleMs, zeroAfterGaps: 0 };
}

function isWithin(value: unknown, least: number, most: number): value is number {
  return typeof value === 'number' && value >= least && value <= most;
}
