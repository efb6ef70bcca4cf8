// The figures of the ring benchmarks, ours and those of the peers.
//
// Invariant: a figure that was not measured is null; theirs stand in the same fields as ours.
import type { BenchResult } from '../kit/report.js';
import type { LatencySummary } from '../kit/statistics.js';
import type { RingSettings, RingTest, Way } from './settings.js';

type Latency = { [Name in keyof LatencySummary]: number | null };
export const NO_LATENCY: Latency = {
  min: null,
  max: null,
  p50: null,
  avg: null,
  stdev: null,
  p99: null,
  p999: null,
};

export interface RingResult extends BenchResult {
  test: RingTest;
  /** null for this project; otherwise the name of the peer, such as `openmpi-shm`. */
  peer: string | null;
  /** How our messages get there; null for peers. */
  way: Way | null;
  /** One way, until the consumer holds the message. */
  latencyUs: Latency;
  /** One way, until the message is in the consumer's own memory; of peers, which only hold it there, nothing more. */
  copiedUs: Latency;
  /** One way, until the consumer has read every byte. */
  touchedUs: Latency;
  /** Messages that the consumer held. 10^9 bytes. */
  gigabytesPerSecond: number | null;
  /** The same when it reads every byte of every message. 10^9 bytes. */
  touchedGigabytesPerSecond: number | null;
  producers: number;
  /** Of each producer; only of ring-fan-in. */
  producerMessagesPerSecond: number[] | null;
  /** Jain's index over these. */
  jainFairness: number | null;
  /** The rate of all producers to that of one alone, in the same run. */
  toOneProducer: number | null;
}

/** Who was measured: us in one of our ways, or a peer. */
export interface Subject {
  /** `soft0`, or a peer's medium such as `unix socket`. */
  device: string;
  peer: string | null;
  way: RingResult['way'];
}

export function ourSubject(settings: RingSettings): Subject {
  return { device: settings.device, peer: null, way: settings.way };
}

/** A result in which nothing is measured yet. */
export function emptyResult(test: RingTest, subject: Subject, sizeBytes: number): RingResult {
  return {
    test,
    ...subject,
    sizeBytes,
    iterations: 0,
    latencyUs: NO_LATENCY,
    copiedUs: NO_LATENCY,
    touchedUs: NO_LATENCY,
    messagesPerSecond: null,
    gigabytesPerSecond: null,
    touchedGigabytesPerSecond: null,
    producers: 1,
    producerMessagesPerSecond: null,
    jainFairness: null,
    toOneProducer: null,
  };
}

/** Our figure and a peer's in the same run. */
export interface RingComparison {
  test: RingTest;
  sizeBytes: number;
  producers: number;
  way: RingResult['way'];
  peer: string;
  /** Each: how many times better ours is (theirs / ours of a latency, ours / theirs of a rate); below 1 it is worse. */
  latencyRatio: number | null;
  /** Of our copiedUs to their latencyUs: both have the message in the consumer's own memory then. */
  copiedRatio: number | null;
  touchedRatio: number | null;
  messagesPerSecondRatio: number | null;
  gigabytesPerSecondRatio: number | null;
  touchedGigabytesPerSecondRatio: number | null;
}

const round = (value: number) => Number(value.toPrecision(4));
const over = (a: number | null, b: number | null) => (a === null || b === null || !(b > 0) ? null : round(a / b));

/** Each of ours with each of theirs of the same test, size and number of producers. */
export function compareResults(results: readonly RingResult[]): RingComparison[] {
  const comparisons: RingComparison[] = [];
  for (const ours of results.filter((result) => result.peer === null)) {
    for (const theirs of results) {
      const { test, sizeBytes, producers } = ours;
      const alike = theirs.test === test && theirs.sizeBytes === sizeBytes && theirs.producers === producers;
      if (theirs.peer === null || !alike) continue;
      comparisons.push({
        test,
        sizeBytes,
        producers,
        way: ours.way,
        peer: theirs.peer,
        latencyRatio: over(theirs.latencyUs.p50, ours.latencyUs.p50),
        copiedRatio: over(theirs.latencyUs.p50, ours.copiedUs.p50),
        touchedRatio: over(theirs.touchedUs.p50, ours.touchedUs.p50),
        messagesPerSecondRatio: over(ours.messagesPerSecond, theirs.messagesPerSecond),
        gigabytesPerSecondRatio: over(ours.gigabytesPerSecond, theirs.gigabytesPerSecond),
        touchedGigabytesPerSecondRatio: over(ours.touchedGigabytesPerSecond, theirs.touchedGigabytesPerSecond),
      });
    }
  }
  return comparisons;
}
