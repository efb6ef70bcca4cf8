// What the three protocols of the deadlock benchmark have to carry, and what goes wrong meanwhile.
//
// Invariant: both follow from the seed of the trial alone, so every protocol meets the same messages and the same
// faults at the same virtual times.
import { SeededChoices } from '../../../src/ts/sim/choices.js';

export const PRODUCERS = 4;
/** Messages of each producer. */
export const MESSAGES = 8;
export const MAX_MESSAGE_BYTES = 256;
/** A lane of each producer; the shared ring has as much as all lanes together. */
export const LANE_SLOTS = 2;
export const LANE_BYTES = 512;
/** The pause between two messages of a producer, in virtual ms. */
export const GAP_MS = 4;
/** What the consumer does with a message takes so long, in virtual ms; until then the message stays where it lies. */
export const HANDLE_MS = 5;
/** Faults come in this span of virtual time; without any, everything is sent in about as long. */
const FAULT_SPAN_MS = 150;
/** The longest stop of a process or stall of its link. */
export const LONGEST_PAUSE_MS = 200;
/** After so long without progress of anybody who lives, with nothing wrong any more, a trial counts as a deadlock. */
export const DEADLOCK_MS = 1000;

export type FaultKind = 'crash' | 'stop' | 'stall' | 'cut';

/** Something that befalls a producer: its end, a pause of the process or of its link, or the loss of its connection. */
export interface PlannedFault {
  atMs: number;
  producer: number;
  kind: FaultKind;
  /** Of a stop or stall. */
  pauseMs: number;
}

export interface Workload {
  /** Who moves the bytes: see WorldOptions. */
  copier: 'device' | 'process';
  /** Lengths in bytes, by producer and message. */
  lengths: number[][];
  /** Pauses before each message, in ms. */
  gaps: number[][];
  faults: PlannedFault[];
}

/** The workload of a trial. */
export function workloadOf(seed: number): Workload {
  const choices = new SeededChoices(seed, 1);
  const each = <T>(make: () => T): T[][] =>
    Array.from({ length: PRODUCERS }, () => Array.from({ length: MESSAGES }, make));
  const kinds: FaultKind[] = ['crash', 'stop', 'stall', 'cut'];
  const copier = choices.chance(0.5) ? 'device' : 'process';
  const lengths = each(() => choices.pick(MAX_MESSAGE_BYTES + 1));
  const gaps = each(() => choices.fraction() * GAP_MS);
  const faults = Array.from({ length: 1 + choices.pick(4) }, () => ({
    atMs: choices.fraction() * FAULT_SPAN_MS,
    producer: choices.pick(PRODUCERS),
    kind: kinds[choices.pick(kinds.length)]!,
    // As many between 1 and 14 ms as between 14 and 200.
    pauseMs: LONGEST_PAUSE_MS ** choices.fraction(),
  }));
  return { copier, lengths, gaps, faults };
}

/** The bytes of a message: no two messages of a trial have the same. */
export function bytesOf(workload: Workload, producer: number, sequence: number): Uint8Array {
  const bytes = new Uint8Array(workload.lengths[producer]![sequence - 1]!);
  let x = (producer * MESSAGES + sequence) * 0x9e3779b1;
  for (let i = 0; i < bytes.length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    bytes[i] = x >>> 24;
  }
  return bytes;
}
