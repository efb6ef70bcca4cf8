// What one run of a verbs benchmark is: the same on both sides, named as perftest names it.
//
// Invariant: settings that came through check() mean something for their test; an option that a test does not have is
// refused, never ignored. They travel as plain JSON.
import { RdmaError } from '../../core/errors.js';
import { checkBoolean, checkInteger, checkObject, checkOneOf } from '../../core/validate.js';

export const verbsTests = [
  'write-lat',
  'write-bw',
  'read-lat',
  'read-bw',
  'send-lat',
  'send-bw',
  'atomic-lat',
] as const;
export type VerbsTest = (typeof verbsTests)[number];
export type Verb = 'write' | 'read' | 'send' | 'atomic';

/** The largest message of `--all`: 2^23 bytes, as in perftest. */
export const MAX_ALL_BYTES = 2 ** 23;
export const MAX_SIZE_BYTES = 2 ** 30;
/** An atomic works on 8 bytes. */
export const ATOMIC_BYTES = 8;
/** Requests that may be outstanding in a queue pair. */
const MAX_DEPTH = 16_384;
const MAX_QPS = 256;
/** Above this size perftest asks for a completion with every request, below it with one of a hundred. */
const LARGE_BYTES = 8192;
const SMALL_CQ_MOD = 100;
/** From so many requests on the peak is not looked for, as in perftest: it takes the square of their number. */
export const MAX_PEAK_ITERATIONS = 20_000;

export interface VerbsSettings {
  test: VerbsTest;
  /** Message sizes in bytes, measured one after the other. */
  sizes: number[];
  /** Samples (latency) or messages of each queue pair (bandwidth). */
  iterations: number;
  /** Seconds to measure instead; 0: `iterations` counts. */
  durationS: number;
  /** Rounds or messages before the measurement, until two seconds have passed; -1: chosen by test and size. */
  warmUp: number;
  /** Requests that may be outstanding for each queue pair. */
  txDepth: number;
  /** Receives that are kept posted for each queue pair. */
  rxDepth: number;
  qps: number;
  /** Sleep on the completion channel instead of polling. */
  events: boolean;
  bidirectional: boolean;
  /** Messages up to this size are copied at posting. */
  inlineBytes: number;
  /** Path MTU in bytes; 0: the port's. */
  mtuBytes: number;
  /** Requests handed down with one doorbell. */
  postList: number;
  /** A completion for every so many requests; 0: chosen by size. */
  cqMod: number;
  /** Of atomic-lat. */
  atomic: 'fetch-add' | 'compare-swap';
}

export const verbOf = (test: VerbsTest): Verb => test.slice(0, test.indexOf('-')) as Verb;
export const isLatency = (test: VerbsTest): boolean => test.endsWith('-lat');
/** Whether the result is half of a round trip: where both sides answer each other. */
export const isPingPong = (test: VerbsTest): boolean => test === 'write-lat' || test === 'send-lat';

/** What perftest does without options. */
export function defaults(test: VerbsTest): VerbsSettings {
  const latency = isLatency(test);
  return {
    test,
    sizes: [test === 'atomic-lat' ? ATOMIC_BYTES : latency ? 2 : 65_536],
    iterations: test === 'write-bw' ? 5000 : 1000,
    durationS: 0,
    warmUp: -1,
    txDepth: latency ? 1 : 128,
    rxDepth: 512,
    qps: 1,
    events: false,
    bidirectional: false,
    inlineBytes: 0,
    mtuBytes: 0,
    postList: 1,
    cqMod: 0,
    atomic: 'fetch-add',
  };
}

/** The options that a test has, besides those that all have. */
export function has(test: VerbsTest, option: keyof VerbsSettings): boolean {
  switch (option) {
    case 'txDepth':
    case 'qps':
    case 'bidirectional':
    case 'postList':
    case 'cqMod':
      return !isLatency(test);
    case 'events':
      return test !== 'write-lat' && test !== 'write-bw';
    case 'inlineBytes':
      return verbOf(test) === 'write' || verbOf(test) === 'send';
    case 'rxDepth':
      return verbOf(test) === 'send';
    case 'sizes':
      return test !== 'atomic-lat';
    case 'atomic':
      return test === 'atomic-lat';
    default:
      return true;
  }
}

function refuse(words: string): never {
  throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', words);
}

/**
 * Checks settings, wherever they come from.
 *
 * @returns the same settings
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT, naming the option
 */
export function checkSettings(value: unknown): VerbsSettings {
  const s = checkObject<VerbsSettings>('settings', value);
  checkOneOf('test', s.test, verbsTests);
  if (!Array.isArray(s.sizes) || s.sizes.length < 1 || s.sizes.length > 64) refuse('sizes: give 1 to 64 of them');
  for (const size of s.sizes) checkInteger('size', size, 1, MAX_SIZE_BYTES);
  checkInteger('iterations', s.iterations, 5, 10_000_000);
  checkInteger('durationS', s.durationS, 0, 3600);
  checkInteger('warmUp', s.warmUp, -1, 10_000_000);
  checkInteger('txDepth', s.txDepth, 1, MAX_DEPTH);
  checkInteger('rxDepth', s.rxDepth, 1, MAX_DEPTH);
  checkInteger('qps', s.qps, 1, MAX_QPS);
  checkBoolean('events', s.events);
  checkBoolean('bidirectional', s.bidirectional);
  checkInteger('inlineBytes', s.inlineBytes, 0, 4096);
  if (s.mtuBytes !== 0) checkOneOf('mtuBytes', s.mtuBytes, [256, 512, 1024, 2048, 4096]);
  checkInteger('postList', s.postList, 1, 64);
  checkInteger('cqMod', s.cqMod, 0, MAX_DEPTH);
  checkOneOf('atomic', s.atomic, ['fetch-add', 'compare-swap']);
  if (s.postList > s.txDepth) refuse(`a post list of ${s.postList} does not fit a transmit depth of ${s.txDepth}`);
  if (s.cqMod > s.txDepth) refuse(`a completion for every ${s.cqMod} requests needs a transmit depth of as many`);
  return s;
}

/** A completion for every so many requests of this size. Never more than fit the queue beside a post list. */
export function cqModOf(settings: VerbsSettings, sizeBytes: number): number {
  const wanted = settings.cqMod || (sizeBytes > LARGE_BYTES ? 1 : SMALL_CQ_MOD);
  return Math.max(1, Math.min(wanted, settings.txDepth - settings.postList + 1));
}
