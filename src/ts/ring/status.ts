// The status of rings, for operators: depth, bytes, why something waits, ages; in plain numbers.
//
// Invariant: counters only grow and cost one addition per event; everything else is computed on request. Times are in
// ms, sizes in bytes.
import type { LaneStall } from './placement.js';
import type { PortServer } from './port.js';

/**
 * Why a message has to wait. Of the lane: no free `slots` or `bytes`, a `reservation` before it that is open, the send
 * `queue` is full, the inbox is `draining`. Of the outbox: `retained-messages` or `retained-bytes`, as too much is not
 * acknowledged yet; `disconnected`, as there is no inbox and the retained memory is full.
 */
export type Stall = LaneStall | 'retained-messages' | 'retained-bytes' | 'disconnected';

/** Sums of an outbox since it was opened. */
export class OutboxCounters {
  /** Messages taken. */
  messages = 0;
  /** Their bytes. */
  bytes = 0;
  /** Messages written again after a reconnect. */
  resent = 0;
  /** Connections made. */
  connects = 0;
  /** Calls that had to wait for room. */
  stalls = 0;
  /** Messages that were built in the inbox's memory. */
  inPlace = 0;
  /** Of those, copied out again since their space went back before they were acknowledged. */
  spilled = 0;
  /** Messages that are pulled. */
  pulled = 0;
  /** Reservations given up. */
  aborted = 0;
}

/** Answered by {@link Outbox.status}. */
export interface OutboxStatus {
  connected: boolean;
  draining: boolean;
  /** The lane is mapped. */
  inPlace: boolean;
  /** Last sequences taken, written to a lane, and acknowledged. */
  sequence: number;
  published: number;
  acknowledged: number;
  unacknowledgedMessages: number;
  unacknowledgedBytes: number;
  /** Age of the oldest message that is not acknowledged; 0 when there is none. */
  oldestUnacknowledgedMs: number;
  /** Messages in the lane that are not released, of so many slots; bytes of its data ring. */
  laneMessages: number;
  laneSlots: number;
  laneBytes: number;
  /** Registered for messages that are pulled. */
  payloadBytes: number;
  /** Calls that wait for room. */
  waiting: number;
  stalledBy: Stall | undefined;
  /** How often the completion channel woke this outbox. */
  wakes: number;
  counters: OutboxCounters;
}

/** Sums of an inbox since it was opened. */
export class InboxCounters {
  /** Messages delivered. */
  messages = 0;
  /** Their bytes, of pulled ones the whole length. */
  bytes = 0;
  /** Lanes that were opened. */
  lanesOpened = 0;
  /** Lanes that were fenced. */
  fences = 0;
  /** Fenced lanes whose memory could not be proved to be left by its writer. */
  quarantined = 0;
  /** Producers, and bootstrap connections of strangers, that were not let in. */
  refused = 0;
  /** Reservations that producers gave up. */
  skipped = 0;
  /** Messages that were pulled. */
  pulls = 0;
  /** Their bytes. */
  pulledBytes = 0;
  /** Blocks of producers that were read. */
  reads = 0;
  /** Their bytes. */
  readBytes = 0;
}

/** Counts what was pulled. @internal */
export function countPulled(counters: InboxCounters, what: 'message' | 'block', bytes: number): void {
  if (what === 'message') {
    counters.pulls++;
    counters.pulledBytes += bytes;
  } else {
    counters.reads++;
    counters.readBytes += bytes;
  }
}

/** What there is to say of an inbox's port. @internal */
export function bootstrapStatus(server: PortServer | undefined): BootstrapStatus | undefined {
  if (server === undefined) return undefined;
  const { pending, peers, hasLocalSocket, counters } = server;
  return { pending, peers, hasLocalSocket, rejected: { ...counters.rejectedByReason } };
}

/** One lane, as {@link Inbox.status} shows it. */
export interface LaneStatus {
  lane: number;
  /** Name and identity of the producer. */
  from: string;
  producer: string;
  epoch: number;
  slots: number;
  dataBytes: number;
  /** What the lane takes at the inbox in all. */
  memoryBytes: number;
  /** Messages up to this length lie behind their descriptors. */
  inlineBytes: number;
  /** The producer may build messages in it. */
  inPlace: boolean;
  /** Its messages are found by looking at the next descriptor, in each poll. */
  polled: boolean;
  /** Delivered on this lane. */
  messages: number;
  bytes: number;
  /** Reports written to the producer. */
  reports: number;
  /** Delivered and not released. */
  heldMessages: number;
  heldBytes: number;
  /** Arrived and not delivered yet. */
  waitingMessages: number;
  unacknowledgedMessages: number;
  oldestUnacknowledgedMs: number;
}

/** The port of an inbox, as {@link Inbox.status} shows it. */
export interface BootstrapStatus {
  /** Bootstrap connections that have not proved yet that they know the secret. */
  pending: number;
  /** Bootstrap connections of producers. */
  peers: number;
  /** Processes of the same user and host have a way in that others cannot crowd. */
  hasLocalSocket: boolean;
  /**
   * Bootstrap connections that did not prove that they know the secret, or were not let in before anything else was
   * said, by the reason: `full` gave way to others, `timeout`, `protocol` no frames or wrong ones, `version`,
   * `unauthenticated`, `service`, `busy`, `disconnected`, `user` another user's process at the local socket, `closed`
   * the inbox was closed.
   */
  rejected: Record<string, number>;
}

/** Answered by {@link Inbox.status}. */
export interface InboxStatus {
  draining: boolean;
  /** Undefined when the inbox is closed. */
  bootstrap: BootstrapStatus | undefined;
  lanes: LaneStatus[];
  /** Fenced lanes with messages that are still held. */
  endedLanes: number;
  /** Over all lanes. */
  memoryBytes: number;
  heldMessages: number;
  heldBytes: number;
  waitingMessages: number;
  unacknowledgedMessages: number;
  oldestUnacknowledgedMs: number;
  /** Memory of producers that is mapped here. */
  mappedBytes: number;
  /** How often the completion channel woke this inbox. */
  wakes: number;
  counters: InboxCounters;
}
