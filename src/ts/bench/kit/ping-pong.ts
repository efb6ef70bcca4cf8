// The course of a ping-pong, whatever carries the messages: warm up, find out how many rounds fit into the time, take
// samples, and leave out the time that the other side spent on writing.
//
// Invariant: a sample is half of a round, without the time in which its two messages were written by their senders. The
// other side notes its times for exactly the rounds that are sampled.
import { type LatencySummary, summarizeLatency } from './statistics.js';

/** A measurement has so many samples at least. */
export const MIN_SAMPLES = 5;
/** The tail beyond p99.9 needs no more. */
export const MAX_TIMED_SAMPLES = 100_000;
/** A measurement that takes so many times as long as planned, as the warm-up was quicker, ends with fewer samples. */
export const LATE = 1.5;

/** Rounds that take about `durationS` when each takes `roundMs`; at least a few. */
export function roundsWithin(durationS: number, roundMs: number): number {
  const fitting = Math.floor((durationS * 1000) / Math.max(roundMs, 1e-6));
  return Math.max(MIN_SAMPLES, Math.min(MAX_TIMED_SAMPLES, fitting));
}

/** The side that begins each round. */
export interface PingPong {
  /** Tells the other side to note how long the next so many answers take to be written; 0: none. */
  record(rounds: number): Promise<void>;
  /** Rounds that do not count. @returns how long one takes in ms, in the end */
  warmUp(): Promise<number>;
  /**
   * Takes a sample for each element, in ms, for a whole round and without the own writing.
   *
   * @param end of the clock of `performance.now()`
   * @returns how many there are: fewer, but not below MIN_SAMPLES, when it gets later than `end`
   */
  run(samples: Float64Array, end: number): Promise<number>;
  /** What the other side has noted, in ms. */
  writes(): Promise<Float64Array>;
}

/** How long it is measured. */
export interface PingPongLength {
  /** Samples; 0: as many as `durationS` holds. */
  iterations: number;
  durationS: number;
}

/** Measures. @throws what the side throws */
export async function measurePingPong(
  side: PingPong,
  { iterations, durationS }: PingPongLength,
): Promise<{ rounds: number; latencyUs: LatencySummary }> {
  await side.record(0);
  const roundMs = await side.warmUp();
  const wanted = iterations > 0 ? iterations : roundsWithin(durationS, roundMs);
  await side.record(wanted);
  const all = new Float64Array(wanted);
  const limitMs = iterations > 0 ? Number.POSITIVE_INFINITY : durationS * LATE * 1000;
  const rounds = await side.run(all, performance.now() + limitMs);
  const writes = await side.writes();
  const samples = all.subarray(0, rounds);
  for (let i = 0; i < rounds; i++) samples[i] = (samples[i]! - writes[i]!) * 500;
  return { rounds, latencyUs: summarizeLatency(samples.sort()) };
}
