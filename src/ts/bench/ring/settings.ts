// The settings of a benchmark of rings.
//
// Invariant: settings that came through checkSettings() can be measured as they are; the other process gets the same.
import { RdmaError } from '../../core/errors.js';
import type { Device } from '../../verbs/index.js';
import { checkInteger, checkObject, checkOneOf, checkString } from '../../core/validate.js';

export const ringTests = ['ring-lat', 'ring-bw', 'ring-rate', 'ring-fan-in'] as const;
export type RingTest = (typeof ringTests)[number];

/**
 * How a message gets from producer to consumer. `copy`: copied into the lane; `in-place`: built in the lane, or in
 * memory that is written to the lane; `pull`: built in the producer's memory, from which the consumer READs it (only
 * ring-lat).
 */
export const ways = ['copy', 'in-place', 'pull'] as const;
export type Way = (typeof ways)[number];

export interface RingSettings {
  test: RingTest;
  device: string;
  /** 1 to 1 GiB. */
  sizes: number[];
  /** Samples of a latency, messages of a rate, for each size; 0: as many as `durationS` holds. */
  iterations: number;
  /** How long each figure is measured, in seconds; for a latency at most 100 000 samples. */
  durationS: number;
  way: Way;
  /** Of ring-fan-in: 1 to 64. */
  producers: number;
}

export const MAX_SIZE_BYTES = 2 ** 30;
export const MAX_ITERATIONS = 10_000_000;
export const MAX_DURATION_S = 600;
export const MAX_PRODUCERS = 64;

const LOOKS = 64;

/** What a command does without options. */
export function ringDefaults(test: RingTest): RingSettings {
  return {
    test,
    device: 'soft0',
    sizes: [test === 'ring-bw' ? 2 ** 20 : 64],
    iterations: 0,
    durationS: 1,
    way: 'copy',
    producers: test === 'ring-fan-in' ? 8 : 1,
  };
}

/**
 * Checks settings, wherever they come from.
 *
 * @returns the same settings
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT, naming the option
 */
export function checkRingSettings(value: unknown): RingSettings {
  const s = checkObject<RingSettings>('settings', value);
  checkOneOf('test', s.test, ringTests);
  checkString('device', s.device, { minLength: 1, maxLength: 64 });
  if (!Array.isArray(s.sizes) || s.sizes.length < 1 || s.sizes.length > 64) refuse('size: give 1 to 64 of them');
  for (const size of s.sizes) checkInteger('size', size, 1, MAX_SIZE_BYTES);
  checkInteger('iterations', s.iterations, 0, MAX_ITERATIONS);
  checkInteger('duration', s.durationS, 1, MAX_DURATION_S);
  checkOneOf('way', s.way, ways);
  if (s.way === 'pull' && s.test !== 'ring-lat') refuse('pull: only ring-lat measures messages that are pulled');
  checkInteger('producers', s.producers, 1, MAX_PRODUCERS);
  return s;
}

function refuse(words: string): never {
  throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', words);
}

/**
 * Looks of one poll: where the kernel's threads carry the bytes, whoever polls must let them have the processor; a soft
 * device has none.
 */
export function looksOf(device: Device): number {
  return device.portAddress().type === 'soft' ? 1 : LOOKS;
}

/**
 * How long the warm-up of a latency may last, in ms: where the kernel carries the bytes, rounds may be slow, and then
 * the code that runs them is compiled late.
 */
export function latencyWarmUpMs(device: Device): number {
  return device.portAddress().type === 'soft' ? 1000 : 6000;
}

/** Sizes of a lane, as an outbox asks for them. */
export interface LaneSizes {
  slots: number;
  dataBytes: number;
  retainMessages: number;
  retainBytes: number;
}

const DEFAULT_LANE_BYTES = 2 ** 20;
const MAX_LANE_BYTES = 2 ** 31 - 64;
/** So many messages fit a lane at least, up to a size where two do: one that is read and one that is written. */
const MESSAGES_IN_LANE = 4;
const FEW_FROM_BYTES = 64 * 2 ** 20;

/** The lane that messages of this size go through: what an outbox has by default while four of them fit. */
export function laneSizes(sizeBytes: number, slots = 64): LaneSizes {
  const messages = sizeBytes < FEW_FROM_BYTES ? MESSAGES_IN_LANE : 1;
  const spare = messages === 1 ? FEW_FROM_BYTES : 0;
  const dataBytes = Math.min(MAX_LANE_BYTES, Math.max(DEFAULT_LANE_BYTES, messages * sizeBytes + spare));
  const retainBytes = messages === 1 ? dataBytes : 2 * dataBytes;
  return { slots, dataBytes, retainMessages: 4 * slots, retainBytes };
}
