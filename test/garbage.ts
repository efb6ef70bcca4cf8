// What a loop leaves for the garbage collector, by the size of the heap and by the collector's own events.
import { PerformanceObserver } from 'node:perf_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { median } from '../src/ts/bench/kit/statistics.js';

setFlagsFromString('--expose-gc');

/** Collects everything, or young objects only. */
export const collect = runInNewContext('gc') as (options?: { type: 'minor' }) => void;

export const heapBytes = () => getHeapStatistics().used_heap_size;

/** A round that makes nothing may leave so much: reading the heap's size makes about 2 KiB of objects itself. */
export const READING_BYTES = 4096;

const ROUNDS = 10;

export interface Garbage {
  /** When the collector ran during the rounds. */
  readonly collections: readonly number[];
  readonly grownBytes: readonly number[];
  /**
   * Of the ten rounds. What the work makes, it makes in each of them; V8 compiles a function again in one or two, and
   * that has left 256 KiB.
   */
  readonly medianBytes: number;
  readonly ms: number;
}

/**
 * Until the code is compiled: unoptimized code boxes numbers, and how soon the compiler comes depends on the machine.
 * The collection before each round is of young objects only: a whole one throws code away that knows an object which
 * has died.
 */
export async function warmUp(work: () => void, makesBytes = 0): Promise<void> {
  for (let round = 0, steady = 0; round < 100 && steady < 8; round++) {
    collect({ type: 'minor' });
    const before = heapBytes();
    work();
    steady = heapBytes() - before < READING_BYTES + makesBytes ? steady + 1 : 0;
    await turn();
  }
}

/** Does the work ten times without a turn of the event loop, and says what that left. */
export async function garbageOf(work: () => void): Promise<Garbage> {
  const seen: number[] = [];
  const observer = new PerformanceObserver((list) => {
    for (const { startTime } of list.getEntries()) seen.push(startTime);
  });
  observer.observe({ entryTypes: ['gc'] });
  // The young generation is empty after it: a collection in the rounds is their own.
  collect({ type: 'minor' });
  await turn();
  await turn();
  if (seen.length === 0) throw new Error('the observer does not hear of collections');
  const grownBytes: number[] = [];
  const started = performance.now();
  for (let round = 0; round < ROUNDS; round++) {
    const before = heapBytes();
    work();
    grownBytes.push(heapBytes() - before);
  }
  const ended = performance.now();
  await turn();
  await turn();
  observer.disconnect();
  return {
    collections: seen.filter((at) => at >= started && at <= ended),
    grownBytes,
    medianBytes: median(grownBytes),
    ms: ended - started,
  };
}
