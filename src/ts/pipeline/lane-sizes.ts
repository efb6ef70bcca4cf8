// How much memory the lanes of a pipeline have, and where the bytes of a message go.
//
// A message in a lane is short: its head, and its body up to `inlineBytes`. A longer body, and every large tensor, lies
// in a block of the sender's pool, from which receivers map or READ it. So the memory of lanes does not depend on how
// large requests are, and that of pools follows use.
//
// Invariant: a receiver takes a message out of its lane at once, whatever becomes of it, so lanes are never held. An
// outbox retains twice as many messages, of the longest that go through a lane, as gateways let requests into one place
// (RESIDENT_REQUESTS); so sending never waits for a message that itself waits for this one.
import type { Device } from '../verbs/index.js';

/** Requests of all gateways that may be between their admission and their end at one place. */
export const RESIDENT_REQUESTS = 256;
/** Bytes of registered memory that a place may take for what it sends, at most; taken as needed. */
export const POOL_BYTES = 4 * 2 ** 30;

const SLOTS = 128;
/** Messages up to this length go through the lane; measured: see docs/bench.md. */
const INLINE_BYTES = { soft: 2048, verbs: 4096 };
/** Messages up to this length go with their descriptor, as one WRITE, where lanes are not mapped. */
const DESCRIPTOR_INLINE_BYTES = 512;
/** Room in a lane for messages of the usual length; more of them wait for the receiver, who takes them out at once. */
const USUAL_LANE_MESSAGES = 32;

/** Bytes of the longest message that is sent through a lane of this device rather than left in a block. */
export function inlineLimit(device: Pick<Device, 'portAddress'>): number {
  return device.portAddress().type === 'soft' ? INLINE_BYTES.soft : INLINE_BYTES.verbs;
}

/** Sizes of a lane between two places. */
export function laneSizes(device: Pick<Device, 'portAddress'>) {
  const inlineBytes = inlineLimit(device);
  return {
    slots: SLOTS,
    dataBytes: USUAL_LANE_MESSAGES * inlineBytes,
    retainMessages: 2 * RESIDENT_REQUESTS,
    retainBytes: 2 * RESIDENT_REQUESTS * inlineBytes,
    inlineBytes: DESCRIPTOR_INLINE_BYTES,
  };
}

/** Limits of an inbox that grants such lanes. */
export function inboxLimits(device: Pick<Device, 'portAddress'>): { maxSlots: number; maxDataBytes: number } {
  const { slots, dataBytes } = laneSizes(device);
  return { maxSlots: slots, maxDataBytes: dataBytes };
}

/** What the senders of one place must know: a message that went to another one would be acknowledged there and lost. */
export function placeSecret(secret: string, place: string): string {
  return `${secret}/${place}`;
}
