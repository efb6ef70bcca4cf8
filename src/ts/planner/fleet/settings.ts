// Settings of an elastic fleet, and the scale policy that they make of a pool.
//
// Invariant: settings are relative to load times and to the wait that an SLO allows, so that the same settings suit
// pools whose tasks take seconds or minutes.
import { DEFAULT_SCALE_POLICY, type ScalePolicy } from '../scaling.js';

/** Settings of an elastic fleet. */
export interface Settings {
  /** Of the scale policy. */
  readonly quantile: number;
  readonly evidence: number;
  /** In load times of the pool. */
  readonly downAfterLoads: number;
  readonly zeroAfterLoads: number;
  readonly zeroAfterGaps: number;
  /** How long others may overtake a request, as a share of the time it may wait. */
  readonly patience: number;
  /** The maximum of a pool's instances, relative to its peak of concurrent requests on unlimited GPUs. */
  readonly most: number;
  /** The wait that the policy aims for, relative to the wait that the SLO allows. */
  readonly slack: number;
  /** The longest stage's share of the time a request may wait; the other stages share the rest. */
  readonly waitShare: number;
}

/** {@link DEFAULT_SCALE_POLICY}; a `...Loads` of 0 keeps the absolute time of that policy. */
export const DEFAULT_SETTINGS: Settings = Object.freeze({
  quantile: DEFAULT_SCALE_POLICY.quantile,
  evidence: DEFAULT_SCALE_POLICY.evidence,
  downAfterLoads: 0,
  zeroAfterLoads: 0,
  zeroAfterGaps: DEFAULT_SCALE_POLICY.zeroAfterGaps,
  patience: 0.25,
  most: 2,
  slack: 1,
  waitShare: 0.7,
});

const MAX_POLICY = 65_535;

/** A pool, as its scale policy sees it. */
export interface Pooled {
  /** From the start of an instance until it is ready, in s. */
  readonly loadS: number;
  /** What a task takes on average, in s. */
  readonly seconds: number;
  /** How long a request may wait here, in s. */
  readonly waitS: number;
  /** The peak of concurrent requests on unlimited GPUs. */
  readonly most: number;
}

/** The scale policy of a pool; its minimum is none. */
export function policyOf(settings: Settings, { loadS, seconds, waitS, most }: Pooled): ScalePolicy {
  const { downAfterLoads, zeroAfterLoads } = settings;
  return {
    ...DEFAULT_SCALE_POLICY,
    quantile: settings.quantile,
    evidence: settings.evidence,
    zeroAfterGaps: settings.zeroAfterGaps,
    ...(downAfterLoads > 0 ? { downAfterMs: Math.round(downAfterLoads * loadS * 1000) } : {}),
    ...(zeroAfterLoads > 0 ? { zeroAfterMs: Math.round(zeroAfterLoads * loadS * 1000) } : {}),
    sloMs: Math.round((seconds + settings.slack * waitS) * 1000),
    max: Math.min(MAX_POLICY, Math.max(1, Math.round(settings.most * most))),
    min: 0,
  };
}
