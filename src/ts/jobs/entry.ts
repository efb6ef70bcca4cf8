// What a store keeps of a job, and how that may change: pure functions, the same for every store.
//
// Invariant: a job goes from `queued` or `running` to one outcome and stays there. Whoever works on it has a term; a
// larger term takes it over, and nothing that an older one says counts any more.
import type { RdmaErrorJson } from '../core/errors.js';
import type { RequestCost, Spread } from '../pipeline/index.js';
import type { JobRecord, JobState } from './job.js';

/** Bytes that belong to a job, under a name of their own. */
export interface ValueRef {
  readonly name: string;
  readonly bytes: number;
}

/** A job as it is stored; plain JSON. */
export interface JobEntry {
  readonly id: string;
  readonly tenant: string;
  readonly priority: number;
  readonly cost?: RequestCost;
  readonly spread?: Readonly<Record<string, Spread>>;
  readonly trace?: { traceparent: string; tracestate?: string };
  /** See SubmitOptions. */
  readonly fingerprint?: string;
  readonly state: JobState;
  /** Wall clock, in ms since 1970, as the others: a store outlives the clocks of its processes. */
  readonly submittedAtMs: number;
  readonly deadlineAtMs?: number;
  readonly endedAtMs?: number;
  /** When it may be swept: of jobs that have ended. */
  readonly expiresAtMs?: number;
  /** How often it was begun. */
  readonly attempts: number;
  /** Which service works on it, and since which takeover: 1, 2 ... */
  readonly owner: string;
  readonly term: number;
  /** Bytes of tensors. */
  readonly requestBytes: number;
  readonly resultBytes?: number;
  readonly error?: RdmaErrorJson;
  /** The request, until the outcome; the result, of `done`. */
  readonly request?: ValueRef;
  readonly result?: ValueRef;
  /** Who settled it: a settle that is repeated, because its answer was lost, is the same one. */
  readonly settledBy?: string;
}

/** What a job ended with. */
export type Outcome =
  | { readonly state: 'done'; readonly bytes: Uint8Array; readonly tensorBytes: number }
  | { readonly state: 'failed' | 'cancelled'; readonly error: RdmaErrorJson };

/** True when it has an outcome. */
export function hasEnded(entry: JobEntry): boolean {
  return entry.state !== 'queued' && entry.state !== 'running';
}

/** Bytes of its values that are stored now. */
export function storedBytes(entry: JobEntry | undefined): number {
  return (entry?.request?.bytes ?? 0) + (entry?.result?.bytes ?? 0);
}

/** Another service takes it over; undefined when that is not possible any more. */
export function claimed(entry: JobEntry, term: number, owner: string): JobEntry | undefined {
  if (hasEnded(entry) || entry.term !== term) return undefined;
  return { ...entry, state: 'queued', owner, term: term + 1 };
}

/** Its owner begins it; undefined when it is not its owner any more, or it has ended. */
export function begun(entry: JobEntry, term: number): JobEntry | undefined {
  if (hasEnded(entry) || entry.term !== term) return undefined;
  return { ...entry, state: 'running', attempts: entry.attempts + 1 };
}

/**
 * Its owner gives it back, to be claimed at once: what it has begun of it is no attempt. Undefined as in {@link begun}.
 */
export function released(entry: JobEntry, term: number): JobEntry | undefined {
  if (hasEnded(entry) || entry.term !== term) return undefined;
  const attempts = entry.state === 'running' ? Math.max(0, entry.attempts - 1) : entry.attempts;
  return { ...entry, state: 'queued', attempts, owner: '' };
}

/** When and by whom a job is settled. */
export interface Settling {
  readonly atMs: number;
  readonly ttlMs: number;
  /** Of its owner; undefined: whoever works on it, for example a cancel. */
  readonly term: number | undefined;
  readonly by: string;
  /** Where the result is. */
  readonly result: ValueRef | undefined;
}

/** It gets its outcome; undefined when it has one, or a newer term works on it. */
export function settled(entry: JobEntry, outcome: Outcome, settling: Settling): JobEntry | undefined {
  const { atMs, ttlMs, term, by, result } = settling;
  if (hasEnded(entry) || (term !== undefined && entry.term !== term)) return undefined;
  const { request: _, ...rest } = entry;
  const ended = { ...rest, state: outcome.state, endedAtMs: atMs, expiresAtMs: atMs + ttlMs, settledBy: by };
  if (outcome.state !== 'done') return { ...ended, error: outcome.error };
  return { ...ended, resultBytes: outcome.tensorBytes, ...(result === undefined ? {} : { result }) };
}

/** True when it may be what was asked for with this fingerprint: not when it was asked for with another one. */
export function isSameRequest(entry: JobEntry, fingerprint: string | undefined): boolean {
  return fingerprint === undefined || entry.fingerprint === undefined || entry.fingerprint === fingerprint;
}

/** What users see of it. */
export function recordOf(entry: JobEntry): JobRecord {
  const { id, tenant, priority, state, submittedAtMs, endedAtMs, attempts, requestBytes, resultBytes, error } = entry;
  return { id, tenant, priority, state, submittedAtMs, endedAtMs, attempts, requestBytes, resultBytes, error };
}
