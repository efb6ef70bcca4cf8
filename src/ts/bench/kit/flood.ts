// What producers that send as fast as they can have in common, whatever carries their messages.
//
// Invariant: messages are counted by their consumer, between two looks at the clock, while every producer is sending.
import { jainIndex, round3 } from './statistics.js';

/** Started so many at a time: starting costs more than sending. */
const STARTED_TOGETHER = 8;

/** How long producers send before they are counted: each process compiles its own code, and they share the cores. */
export function floodWarmUpMs(producers: number): number {
  return Math.max(1000, 150 * producers);
}

/** Starts producers, some at a time. @param start is called with the index of each */
export async function startProducers(producers: number, start: (index: number) => Promise<unknown>): Promise<void> {
  for (let first = 0; first < producers; first += STARTED_TOGETHER) {
    const count = Math.min(STARTED_TOGETHER, producers - first);
    await Promise.all(Array.from({ length: count }, (_, i) => start(first + i)));
  }
}

/** What a consumer has taken. */
export interface Counted {
  ms: number;
  messages: number;
  /** By producer. */
  counts: readonly number[];
}

/** The figures of a flood. */
export interface FloodFigures {
  producers: number;
  iterations: number;
  messagesPerSecond: number;
  /** 10^9 bytes. */
  gigabytesPerSecond: number;
  touchedGigabytesPerSecond: number | null;
  producerMessagesPerSecond: number[] | null;
  jainFairness: number | null;
}

/**
 * Makes figures of counts.
 *
 * @param held while the consumer held each message
 * @param read while it read every byte of each; undefined: that was not measured
 * @param isFanIn producers are held against each other
 */
export function floodFigures(
  sizeBytes: number,
  held: Counted,
  read: Counted | undefined,
  isFanIn: boolean,
): FloodFigures {
  const perSecond = (count: number) => Math.round((count / held.ms) * 1000);
  const gigabytes = ({ messages, ms }: Counted) => round3((messages * sizeBytes) / ms / 1e6);
  return {
    producers: held.counts.length,
    iterations: held.messages,
    messagesPerSecond: perSecond(held.messages),
    gigabytesPerSecond: gigabytes(held),
    touchedGigabytesPerSecond: read === undefined ? null : gigabytes(read),
    producerMessagesPerSecond: isFanIn ? held.counts.map(perSecond) : null,
    jainFairness: isFanIn ? round3(jainIndex(held.counts)) : null,
  };
}
