// The small configurations that are enumerated: every run that departs from the ordinary course at most so many times.
import { FAULTS, SMALL, type Shape, type SmallCase } from './shape.js';

/** One fault of any kind, at any step; the second is the choice of whom it meets. */
const oneFault = { ...SMALL, tearShare: 0.5, faults: FAULTS, faultCount: 1 };
const inPlace: Partial<Shape> = { copier: 'process', inPlace: true, ways: ['reserve', 'abort', 'send'] };
/** The second one has no room behind its descriptor. */
const inline: Partial<Shape> = { inlineBytes: 64, lengths: [40, 100, 0] };
/** The bytes stay in blocks of the producer. */
const referring: Partial<Shape> = { ways: ['refer'], lengths: [100, 20] };
const twoSlots = { messages: 2, slots: 2, dataBytes: 128, retainBytes: 128 };

/** Without faults: which event comes next is all there is. */
export const QUIET_CASES: readonly SmallCase[] = [
  { name: 'one-message', shape: SMALL, limits: { order: 3, tear: 0, fault: 0 }, schedules: 6000 },
  {
    name: 'one-slot-twice',
    shape: { ...SMALL, messages: 2, lengths: [64, 0], tearShare: 0.5 },
    limits: { order: 2, tear: 1, fault: 0 },
    schedules: 14000,
  },
  {
    name: 'three-through-two-slots',
    shape: { ...SMALL, ...twoSlots, messages: 3, lengths: [100, 20, 64], holdMs: 1 },
    limits: { order: 2, tear: 0, fault: 0 },
    schedules: 3500,
  },
  {
    name: 'in-place',
    shape: { ...SMALL, ...twoSlots, ...inPlace, messages: 3 },
    limits: { order: 1, tear: 0, fault: 0 },
    schedules: 100,
  },
  {
    name: 'pulled',
    shape: { ...SMALL, ...twoSlots, lengths: [300, 0], pullAboveBytes: 64 },
    limits: { order: 1, tear: 0, fault: 0 },
    schedules: 80,
  },
  {
    name: 'batch',
    shape: { ...SMALL, ...twoSlots, messages: 3, lengths: [64, 0, 20], batch: 3, tearShare: 0.5 },
    limits: { order: 2, tear: 1, fault: 0 },
    schedules: 22000,
  },
  {
    name: 'polled',
    shape: { ...SMALL, ...twoSlots, ...inPlace, messages: 3, wait: 'busy' },
    limits: { order: 4, tear: 0, fault: 0 },
    schedules: 2600,
  },
  {
    name: 'short',
    shape: {
      ...SMALL,
      ...twoSlots,
      ...inPlace,
      ...inline,
      direct: true,
      messages: 4,
      ways: ['send', 'reserve', 'abort'],
      wait: 'busy',
    },
    limits: { order: 3, tear: 0, fault: 0 },
    schedules: 2600,
  },
  {
    name: 'inline',
    shape: { ...SMALL, ...twoSlots, ...inline, tearShare: 0.5 },
    limits: { order: 2, tear: 1, fault: 0 },
    schedules: 20000,
  },
  {
    name: 'inline-polled',
    shape: { ...SMALL, ...twoSlots, ...inline, messages: 3, tearShare: 0.5, weakOrder: true, wait: 'busy' },
    limits: { order: 2, tear: 2, fault: 0 },
    schedules: 27000,
  },
  {
    name: 'referring',
    shape: { ...SMALL, ...twoSlots, ...referring, copier: 'process' },
    limits: { order: 2, tear: 0, fault: 0 },
    schedules: 3700,
  },
  { name: 'two-producers', shape: { ...SMALL, producers: 2 }, limits: { order: 1, tear: 0, fault: 0 }, schedules: 120 },
];

/** One fault on a network card, which goes on without the process. */
export const CARD_CASES: readonly SmallCase[] = [
  { name: 'fault-on-card', shape: oneFault, limits: { order: 1, tear: 1, fault: 2 }, schedules: 30000 },
];

export const LARGER_CARD_CASES: readonly SmallCase[] = [
  {
    name: 'fault-on-card-two-slots',
    shape: { ...oneFault, ...twoSlots, restarts: true },
    limits: { order: 0, tear: 1, fault: 2 },
    schedules: 2000,
  },
  {
    name: 'fault-on-card-batch',
    shape: { ...oneFault, ...twoSlots, lengths: [64, 20], batch: 2 },
    limits: { order: 0, tear: 1, fault: 2 },
    schedules: 1500,
  },
  {
    name: 'fault-on-card-inline',
    shape: { ...oneFault, ...twoSlots, ...inline, restarts: true },
    limits: { order: 0, tear: 1, fault: 2 },
    schedules: 1700,
  },
  {
    name: 'fault-on-card-inline-polled',
    shape: { ...oneFault, ...twoSlots, ...inline, messages: 3, weakOrder: true, wait: 'busy' },
    limits: { order: 0, tear: 1, fault: 2 },
    schedules: 3700,
  },
  {
    name: 'fault-on-card-while-pulling',
    shape: { ...oneFault, ...twoSlots, lengths: [300, 64], pullAboveBytes: 64 },
    limits: { order: 0, tear: 1, fault: 2 },
    schedules: 1700,
  },
  {
    name: 'fault-on-card-referring',
    shape: { ...oneFault, ...twoSlots, ...referring, restarts: true },
    limits: { order: 0, tear: 1, fault: 2 },
    schedules: 3200,
  },
  {
    name: 'fault-on-card-two-producers',
    shape: { ...oneFault, producers: 2 },
    limits: { order: 0, tear: 1, fault: 3 },
    schedules: 6500,
  },
];

/** One fault where the process copies itself, as on soft0. */
export const HOST_CASES: readonly SmallCase[] = [
  {
    name: 'fault-on-host',
    shape: { ...oneFault, copier: 'process' },
    limits: { order: 1, tear: 1, fault: 2 },
    schedules: 25000,
  },
];

export const LARGER_HOST_CASES: readonly SmallCase[] = [
  {
    name: 'fault-on-host-two-slots',
    shape: { ...oneFault, ...twoSlots, copier: 'process', restarts: true },
    limits: { order: 0, tear: 1, fault: 2 },
    schedules: 1900,
  },
  {
    name: 'fault-on-host-batch',
    shape: { ...oneFault, ...twoSlots, copier: 'process', lengths: [64, 20], batch: 2 },
    limits: { order: 0, tear: 1, fault: 2 },
    schedules: 1400,
  },
  {
    name: 'fault-in-place',
    shape: { ...oneFault, ...twoSlots, ...inPlace, messages: 3, tearShare: 0 },
    limits: { order: 0, tear: 1, fault: 2 },
    schedules: 7000,
  },
  {
    name: 'fault-while-polled',
    shape: { ...oneFault, ...twoSlots, ...inPlace, messages: 3, wait: 'busy' },
    limits: { order: 0, tear: 1, fault: 2 },
    schedules: 1700,
  },
  {
    name: 'fault-while-short',
    shape: { ...oneFault, ...twoSlots, ...inPlace, ...inline, direct: true, messages: 3, restarts: true, wait: 'busy' },
    limits: { order: 0, tear: 1, fault: 2 },
    schedules: 1800,
  },
  {
    name: 'fault-on-host-inline-polled',
    shape: { ...oneFault, ...twoSlots, ...inline, copier: 'process', messages: 3, wait: 'busy' },
    limits: { order: 0, tear: 1, fault: 2 },
    schedules: 2800,
  },
  {
    name: 'fault-on-host-referring',
    shape: { ...oneFault, ...twoSlots, ...referring, copier: 'process', restarts: true },
    limits: { order: 0, tear: 1, fault: 2 },
    schedules: 3100,
  },
  {
    name: 'fault-while-pulling',
    shape: { ...oneFault, ...twoSlots, copier: 'process', tearShare: 0, lengths: [300, 64], pullAboveBytes: 64 },
    limits: { order: 0, tear: 1, fault: 2 },
    schedules: 1600,
  },
];

export const SMALL_CASES = [...QUIET_CASES, ...CARD_CASES, ...LARGER_CARD_CASES, ...HOST_CASES, ...LARGER_HOST_CASES];
