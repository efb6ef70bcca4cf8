// The memory of the lanes of a pipeline, and the choice where the bytes of a message go.
//
// A message in a lane is short: its head, and its body up to `inlineBytes`. A longer body, and every large tensor, lies
// in a block of the sender's pool, from which receivers map or READ it. So the memory of lanes does not depend on how
// large requests are, and that of pools follows use.
//
// Invariant: a receiver takes a message out of its lane at once, whatever happens to it next, so lanes are never
// blocked. An outbox can retain as many of the longest lane messages as link.ts needs, so sending never waits for a
// message that itself waits for this one.
import { Secret } from '../core/secret.js';
import { checkInteger } from '../core/validate.js';
import type { Device } from '../verbs/index.js';
import { retainedMessages } from './link.js';

/** How much memory a place takes, and how many requests it takes at a time. */
export interface PlaceSizes {
  /** Requests of all gateways that may be between their admission and their end at one place, 1 to 2048. */
  readonly residentRequests: number;
  /** Pieces of streams that the links of a place keep, at most, 1 to 16384; see stream-limits.ts. */
  readonly streamedPieces: number;
  /** Bytes of registered memory that a place may take for what it sends, at most; taken as needed. */
  readonly poolBytes: number;
  /** Messages in a lane, 1 to 4095. */
  readonly slots: number;
  /** Messages up to this length go through the lane, 768 to 65536 bytes: a note of the most records has to. */
  readonly inlineBytes: number;
  /** Room in a lane, in messages of `inlineBytes`; more of them wait for the receiver, who takes them out at once. */
  readonly laneMessages: number;
}

/** Bytes up to which a message goes through the lane; measured: see docs/bench.md. */
const INLINE_BYTES = { soft: 2048, verbs: 4096 };
/** Messages up to this length go with their descriptor, as one WRITE, where lanes are not mapped. */
const DESCRIPTOR_INLINE_BYTES = 512;
const ROUNDING_BYTES = 64;
/** Of the ring: docs/ring.md. */
const DESCRIPTOR_BYTES = 64;
const PAGE_BYTES = 4096;

/**
 * The sizes of a place on a device.
 *
 * @param own what differs from the usual, as in simulations, where a process has many places
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for one that is out of bounds
 */
export function placeSizes(device: Pick<Device, 'portAddress'>, own: Partial<PlaceSizes> = {}): PlaceSizes {
  const isSoft = device.portAddress().type === 'soft';
  return {
    residentRequests: checkInteger('residentRequests', own.residentRequests ?? 128, 1, 2048),
    streamedPieces: checkInteger('streamedPieces', own.streamedPieces ?? 1024, 1, 16384),
    poolBytes: checkInteger('poolBytes', own.poolBytes ?? 4 * 2 ** 30, 4096, 2 ** 40),
    slots: checkInteger('slots', own.slots ?? 128, 1, 4095),
    inlineBytes: checkInteger('inlineBytes', own.inlineBytes ?? INLINE_BYTES[isSoft ? 'soft' : 'verbs'], 768, 65536),
    laneMessages: checkInteger('laneMessages', own.laneMessages ?? 32, 1, 1024),
  };
}

/**
 * Sizes of a lane between two places.
 *
 * @param pieces of streams that its outbox keeps, see keptPieces() in stream-limits.ts; default none
 */
export function laneSizes({ residentRequests, slots, inlineBytes, laneMessages }: PlaceSizes, pieces = 0) {
  const retainMessages = retainedMessages(residentRequests + pieces);
  return {
    slots,
    dataBytes: laneMessages * inlineBytes,
    retainMessages,
    // Lengths are rounded up there, and what does not fit before the end begins at the front.
    retainBytes: (retainMessages + 1) * (inlineBytes + ROUNDING_BYTES),
    inlineBytes: DESCRIPTOR_INLINE_BYTES,
  };
}

/**
 * The shared memory of one lane in bytes: of the receiver's rings, the sender's copy of descriptors, and what it
 * retains.
 *
 * @param pieces see laneSizes()
 */
export function laneMemoryBytes(sizes: PlaceSizes, pieces = 0): number {
  const { slots, dataBytes, retainBytes, inlineBytes } = laneSizes(sizes, pieces);
  const descriptors = slots * (DESCRIPTOR_BYTES + inlineBytes) + DESCRIPTOR_BYTES;
  const pages = (bytes: number) => Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
  return pages(descriptors + dataBytes) + pages(descriptors) + pages(retainBytes);
}

/** Limits of an inbox that grants such lanes. */
export function inboxLimits(sizes: PlaceSizes): { maxSlots: number; maxDataBytes: number } {
  const { slots, dataBytes } = laneSizes(sizes);
  return { maxSlots: slots, maxDataBytes: dataBytes };
}

/** What the senders of one place must know: a message that went to another one would be acknowledged there and lost. */
export function placeSecret(secret: string | Secret<string>, place: string): string {
  return `${secret instanceof Secret ? secret.reveal() : secret}/${place}`;
}
