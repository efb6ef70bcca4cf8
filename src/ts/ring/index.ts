// The ring layer: inbox and outbox over the double-ring protocol.
export { RdmaError } from '../core/errors.js';
export { Inbox, type InboxOptions, type LaneEvent } from './inbox.js';
export type { Lane } from './lane.js';
export { InboxMessage, type PullOptions } from './message.js';
export {
  type ConnectionEvent,
  type InboxAddress,
  Outbox,
  type OutboxOptions,
  type Part,
  type SendOptions,
  type StallEvent,
} from './outbox.js';
export type { WaitMode } from './pump.js';
export { Reservation } from './reservation.js';
export type { InboxCounters, InboxStatus, LaneStatus, OutboxCounters, OutboxStatus, Stall } from './status.js';
