// How large a run of the rings under the simulation is, and what may go wrong in it.
import { Poller } from '../../src/ts/ring/index.js';
import { type ChoiceLimits, SeededChoices } from '../../src/ts/sim/choices.js';
import type { SimProcess } from '../../src/ts/sim/process.js';
import type { DeviceFlaw } from '../../src/ts/sim/world.js';

export const FAULTS = [
  'crash-producer',
  'stop-producer',
  'cut-queue-pair',
  'stall-queue-pair',
  'cut-channel',
  'crash-consumer',
  'stop-consumer',
  'replace-consumer',
  'kill-at-request',
] as const;
export type Fault = (typeof FAULTS)[number];

/**
 * How a message is sent: copied; built in its place and committed; or its place is given up. Or its bytes stay in a
 * block of the producer's pool, and what is sent refers to it.
 */
export type Way = 'send' | 'reserve' | 'abort' | 'refer';

export interface Shape {
  producers: number;
  /** Of each incarnation of a producer. */
  messages: number;
  slots: number;
  dataBytes: number;
  /** Room behind each descriptor, where the lane is not mapped, or polled. */
  inlineBytes: number;
  retainMessages: number;
  retainBytes: number;
  /** Lengths are taken from these in turn; 0 to `dataBytes`, or 4 times that when messages are pulled. */
  lengths: readonly number[];
  ways: readonly Way[];
  /** So many messages are collected and written together; 1: each alone. */
  batch: number;
  /** Messages are of one piece, and none is collected: short ones are sent in one step where that is possible. */
  direct: boolean;
  /** Longer messages are pulled; undefined: none is. */
  pullAboveBytes: number | undefined;
  /** Lanes may be mapped where `copier` is `process`. */
  inPlace: boolean;
  checksum: boolean;
  /** How long a message is built, in ms. */
  buildMs: number;
  copier: 'device' | 'process';
  tearShare: number;
  /** See WorldOptions. */
  weakOrder: boolean;
  pollBatch: number;
  /**
   * How both sides wait. With `busy` the consumer polls now and then, and the producers sleep until something comes.
   */
  wait: 'adaptive' | 'event' | 'busy';
  /** With `adaptive`: by a Poller. */
  poller: boolean;
  /** How long the consumer holds messages, in ms; 0: it is done with them at once. */
  holdMs: number;
  /** The limit of the pool of a producer that sends references, so small that blocks are used again and again. */
  poolBytes: number;
  /** When the pool gives idle memory back. */
  poolIdleMs: number;
  /** What may go wrong, and how often in one run. */
  faults: readonly Fault[];
  faultCount: number;
  /** Producers that have crashed come again, as new incarnations. */
  restarts: boolean;
  flaw?: DeviceFlaw;
}

/** What small configurations have in common. */
export const SMALL: Shape = {
  producers: 1,
  messages: 1,
  slots: 1,
  dataBytes: 64,
  inlineBytes: 0,
  retainMessages: 4,
  retainBytes: 64,
  lengths: [40],
  ways: ['send'],
  batch: 1,
  direct: false,
  pullAboveBytes: undefined,
  inPlace: false,
  checksum: false,
  buildMs: 0,
  copier: 'device',
  tearShare: 0,
  weakOrder: false,
  pollBatch: 16,
  wait: 'event',
  poller: false,
  holdMs: 0,
  poolBytes: 4096,
  poolIdleMs: 5000,
  faults: [],
  faultCount: 0,
  restarts: false,
};

/** A configuration that is enumerated. */
export interface SmallCase {
  name: string;
  shape: Shape;
  limits: ChoiceLimits;
  /** There are at least so many: fewer would mean that something is not looked at any more. */
  schedules: number;
}

const WAYS: readonly Way[] = ['send', 'reserve', 'reserve', 'abort'];

/** The shape of the run with this seed: everything about it follows from the seed. */
export function shapeOf(seed: number): Shape {
  const choices = new SeededChoices(seed, 1);
  const one = <T>(items: readonly T[]): T => items[choices.pick(items.length)]!;
  const dataBytes = one([64, 128, 192, 512, 1024]);
  const slots = one([1, 2, 3, 4, 8]);
  const pullAboveBytes = choices.chance(0.3) ? one([0, 64, dataBytes]) : undefined;
  const longest = pullAboveBytes === undefined ? dataBytes : 2 * dataBytes;
  const lengths = Array.from({ length: 4 }, () =>
    one([0, 1, 63, 64, 65, dataBytes, dataBytes - 1, choices.pick(longest + 1)].filter((bytes) => bytes <= longest)),
  );
  const ways = choices.chance(0.5) ? (['send'] as const) : Array.from({ length: 5 }, () => one(WAYS));
  const shape: Shape = {
    producers: one([1, 1, 2, 2, 3]),
    messages: one([1, 2, 4, 8]),
    slots,
    dataBytes,
    retainMessages: one([1, 2, 5, 16]),
    retainBytes: one([1, 2, 4]) * dataBytes,
    lengths,
    ways,
    pullAboveBytes,
    inPlace: choices.chance(0.7),
    checksum: choices.chance(0.3),
    buildMs: one([0, 0.5, 20]),
    copier: one(['device', 'process'] as const),
    tearShare: one([0, 0.1, 0.5]),
    pollBatch: one([1, 2, 16]),
    wait: one(['adaptive', 'event', 'event'] as const),
    holdMs: one([0, 0, 2, 50]),
    faults: FAULTS,
    faultCount: one([0, 1, 1, 2, 4]),
    restarts: choices.chance(0.5),
    batch: one([1, 1, 2, 3]),
    ...(choices.chance(0.25) ? { wait: 'busy' } : {}),
    inlineBytes: one([0, 0, 64, 128]),
    weakOrder: choices.chance(0.5),
    poller: choices.chance(0.5),
    poolBytes: one([4096, 4096, 16_384]),
    poolIdleMs: one([1, 50, 5000]),
    direct: false,
  };
  const refers = choices.chance(0.3);
  shape.direct = choices.chance(0.5);
  if (!refers) return shape;
  // Each is sent at once: who waits for a block must not hold back what is to be acknowledged.
  return { ...shape, ways: [...ways, 'refer', 'refer'], batch: 1 };
}

/** The option `poller` of an inbox or outbox of a process. */
export const pollerOf = ({ wait, poller }: Shape, { clock }: SimProcess): { poller?: Poller } =>
  wait === 'adaptive' && poller ? { poller: new Poller({ clock }) } : {};
