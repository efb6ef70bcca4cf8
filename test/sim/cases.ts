// The small configurations that are enumerated: every run that departs from the ordinary course at most so many times.
import { FAULTS, SMALL, type SmallCase } from './shape.js';

/** One fault of any kind, at any step; the second is the choice of whom it meets. */
const oneFault = { ...SMALL, tearShare: 0.5, faults: FAULTS, faultCount: 1 };
const twoSlots = { messages: 2, slots: 2, dataBytes: 128, retainBytes: 128 };

/** Without faults: which event comes next is all there is. */
export const QUIET_CASES: readonly SmallCase[] = [
  { name: 'one-message', shape: SMALL, limits: { order: 3, tear: 0, fault: 0 } },
  {
    name: 'one-slot-twice',
    shape: { ...SMALL, messages: 2, lengths: [64, 0], tearShare: 0.5 },
    limits: { order: 2, tear: 1, fault: 0 },
  },
  {
    name: 'three-through-two-slots',
    shape: { ...SMALL, ...twoSlots, messages: 3, lengths: [100, 20, 64], holdMs: 1 },
    limits: { order: 2, tear: 0, fault: 0 },
  },
  { name: 'two-producers', shape: { ...SMALL, producers: 2 }, limits: { order: 1, tear: 0, fault: 0 } },
];

/** One fault on a network card, which goes on without the process. */
export const DEVICE_FAULT_CASES: readonly SmallCase[] = [
  { name: 'fault-on-card', shape: oneFault, limits: { order: 1, tear: 1, fault: 2 } },
  {
    name: 'fault-on-card-two-slots',
    shape: { ...oneFault, ...twoSlots, restarts: true },
    limits: { order: 0, tear: 1, fault: 2 },
  },
  {
    name: 'fault-on-card-two-producers',
    shape: { ...oneFault, producers: 2 },
    limits: { order: 0, tear: 1, fault: 3 },
  },
];

/** One fault where the process copies itself, as on soft0. */
export const PROCESS_FAULT_CASES: readonly SmallCase[] = [
  { name: 'fault-on-host', shape: { ...oneFault, copier: 'process' }, limits: { order: 1, tear: 1, fault: 2 } },
  {
    name: 'fault-on-host-two-slots',
    shape: { ...oneFault, ...twoSlots, copier: 'process', restarts: true },
    limits: { order: 0, tear: 1, fault: 2 },
  },
];

export const SMALL_CASES = [...QUIET_CASES, ...DEVICE_FAULT_CASES, ...PROCESS_FAULT_CASES];
