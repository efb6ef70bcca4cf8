// The figures of the overload benchmark, ours and those of the peers.
//
// Invariant: a figure that was not measured is null; theirs stand in the same fields as ours. Every share of the
// capacity is one of the same capacity: that of our pipeline, measured first in the same run.
import { type Machine, machine } from '../kit/machine.js';
import { round3 } from '../kit/statistics.js';
import type {
  BatchMeasured,
  CancelMeasured,
  HungMeasured,
  LoadMeasured,
  RetryMeasured,
  TenantsMeasured,
} from './measured.js';
import type { OverloadSettings } from './settings.js';
import { round4, type Tally } from './tally.js';

/** So many times the capacity is offered. */
export interface LoadResult {
  test: 'overload';
  /** null for this project; otherwise the name of the peer. */
  peer: string | null;
  factor: number;
  offeredPerSecond: number;
  /** Requests that were due while it was measured. */
  offered: number;
  /** Answers within the deadline, in capacities. */
  goodput: number;
  /** Of what was not refused: what was not answered within the deadline. */
  lateShare: number;
  /** Of all. */
  refusedShare: number;
  /** From the moment at which a request was due until its refusal; null without refusals. */
  rejectP50Ms: number | null;
  rejectP99Ms: number | null;
  /** Of answers within the deadline; null without any. */
  latencyP50Ms: number | null;
  latencyP99Ms: number | null;
  /** How late requests were sent, p99: it is in all times. */
  lagP99Ms: number;
  /** Median of |predicted - real| / real; null when nothing is predicted. */
  predictionError: number | null;
}

/** Refused clients that come again after `retryAfterMs`. */
export interface RetryResult {
  test: 'overload-retry';
  peer: null;
  refused: number;
  /** Of the refused: those whose refusal said when to come again. */
  toldShare: number | null;
  /** Of those that knew when: those that were not refused again; null when none knew. */
  firstRetryShare: number | null;
  /** Of those that knew when: those that were answered in time. */
  answeredShare: number | null;
  retryAfterP50Ms: number | null;
  retryAfterP99Ms: number | null;
}

/** From an abort until every place is free. */
export interface CancelResult {
  test: 'overload-cancel';
  peer: null;
  rounds: number;
  /** Rounds in which a place was not free within `limitMs`. */
  stuck: number;
  limitMs: number;
  /** null when a round was stuck. */
  freeP50Ms: number | null;
  freeP99Ms: number | null;
}

/** One instance of `instances` stops. */
export interface HungResult {
  test: 'overload-hung';
  peer: null;
  instances: number;
  /** Answers in time from a second later on, relative to those before. */
  keptShare: number | null;
  /** (N - 1) / N. */
  possibleShare: number;
}

/** A steady tenant beside one that offers ten times the capacity. */
export interface TenantsResult {
  test: 'overload-tenants';
  peer: null;
  aloneP99Ms: number | null;
  besideP99Ms: number | null;
  /** The second by the first; null without answers in time. */
  ratio: number | null;
  /** Of the steady tenant's requests beside the other one. */
  steadyInTimeShare: number;
  steadyRefusedShare: number;
  /** Of both together, in capacities. */
  goodput: number;
}

/** A stage that takes `size` tasks which cost as much as 1.5, beside one that takes single tasks. */
export interface BatchResult {
  test: 'overload-batch';
  peer: null;
  size: number;
  singlePerSecond: number;
  batchedPerSecond: number;
  /** The second by the first. */
  ratio: number | null;
}

export type OverloadResult = LoadResult | RetryResult | CancelResult | HungResult | TenantsResult | BatchResult;

export interface OverloadFailure {
  /** null: ours. */
  peer: string | null;
  test: OverloadResult['test'];
  factor: number | null;
  reason: string;
}

/** What --json prints. */
export interface OverloadDocument {
  schemaVersion: 1;
  test: 'overload';
  machine: Machine;
  settings: OverloadSettings;
  /** 100 %. */
  capacityPerSecond: number;
  results: OverloadResult[];
  /** Name and version of each peer that was measured. */
  peers: Record<string, string>;
  /** Requests that failed for another reason than their time, and peers that could not be measured. */
  failures: OverloadFailure[];
}

/** A share, or nothing where there is no whole. */
const share = (part: number, whole: number) => (whole > 0 ? round4(part / whole) : null);

export function loadResult(
  peer: string | null,
  factor: number,
  capacityPerSecond: number,
  seconds: number,
  { tally, offeredPerSecond }: LoadMeasured,
): LoadResult {
  return {
    test: 'overload',
    peer,
    factor,
    offeredPerSecond,
    offered: tally.offered,
    goodput: round4(tally.inTime / seconds / capacityPerSecond),
    lateShare: tally.lateShare,
    refusedShare: share(tally.refused, tally.offered) ?? 0,
    rejectP50Ms: tally.rejectMs?.p50 ?? null,
    rejectP99Ms: tally.rejectMs?.p99 ?? null,
    latencyP50Ms: tally.latencyMs?.p50 ?? null,
    latencyP99Ms: tally.latencyMs?.p99 ?? null,
    lagP99Ms: tally.lagMs,
    predictionError: tally.predictionError,
  };
}

export function retryResult({ refused, told, admitted, inTime, retryAfterMs }: RetryMeasured): RetryResult {
  return {
    test: 'overload-retry',
    peer: null,
    refused,
    toldShare: share(told, refused),
    firstRetryShare: share(admitted, told),
    answeredShare: share(inTime, told),
    retryAfterP50Ms: retryAfterMs?.p50 ?? null,
    retryAfterP99Ms: retryAfterMs?.p99 ?? null,
  };
}

export function cancelResult({ rounds, stuck, limitMs, freeMs }: CancelMeasured): CancelResult {
  const measured = stuck === 0 ? freeMs : null;
  return {
    test: 'overload-cancel',
    peer: null,
    rounds,
    stuck,
    limitMs,
    freeP50Ms: measured?.p50 ?? null,
    freeP99Ms: measured?.p99 ?? null,
  };
}

export function hungResult({ instances, beforePerSecond, afterPerSecond }: HungMeasured): HungResult {
  return {
    test: 'overload-hung',
    peer: null,
    instances,
    keptShare: share(afterPerSecond, beforePerSecond),
    possibleShare: round4((instances - 1) / instances),
  };
}

export function tenantsResult(
  capacityPerSecond: number,
  seconds: number,
  { alone, beside, flood }: TenantsMeasured,
): TenantsResult {
  const aloneP99Ms = alone.latencyMs?.p99 ?? null;
  const besideP99Ms = beside.latencyMs?.p99 ?? null;
  const ratio = aloneP99Ms === null || besideP99Ms === null ? null : round3(besideP99Ms / aloneP99Ms);
  return {
    test: 'overload-tenants',
    peer: null,
    aloneP99Ms,
    besideP99Ms,
    ratio,
    steadyInTimeShare: share(beside.inTime, beside.offered) ?? 0,
    steadyRefusedShare: share(beside.refused, beside.offered) ?? 0,
    goodput: round4((beside.inTime + flood.inTime) / seconds / capacityPerSecond),
  };
}

export function batchResult({ size, singlePerSecond, batchedPerSecond }: BatchMeasured): BatchResult {
  return {
    test: 'overload-batch',
    peer: null,
    size,
    singlePerSecond: round3(singlePerSecond),
    batchedPerSecond: round3(batchedPerSecond),
    ratio: share(batchedPerSecond, singlePerSecond),
  };
}

/** What failed of the requests of a window, if anything did. */
export function failureOf(
  peer: string | null,
  test: OverloadResult['test'],
  factor: number | null,
  tallies: readonly Tally[],
): OverloadFailure | undefined {
  const failed = tallies.reduce((sum, tally) => sum + tally.failed, 0);
  if (failed === 0) return undefined;
  const first = tallies.find(({ firstFailure }) => firstFailure !== null)?.firstFailure ?? 'no words';
  return { peer, test, factor, reason: `${failed} requests failed, the first one with: ${first}` };
}

export function overloadDocument(
  run: Pick<OverloadDocument, 'settings' | 'capacityPerSecond' | 'results' | 'peers' | 'failures'>,
): OverloadDocument {
  return { schemaVersion: 1, test: 'overload', machine: machine(), ...run };
}
