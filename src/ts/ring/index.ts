// The ring layer: inbox and outbox over the double-ring protocol, and memory that stays with its sender.
export { RdmaError } from '../core/errors.js';
export { Inbox } from './inbox.js';
export type { InboxOptions, LaneEvent } from './inbox-options.js';
export type { Lane } from './lane.js';
export { AdoptedSegment } from './adopted-segment.js';
export { Block } from './block.js';
export { MemoryPool, type MemoryPoolOptions, type MemoryPoolStatus } from './memory-pool.js';
export type { MemoryReference } from './memory-reference.js';
export { InboxMessage, type PullOptions } from './message.js';
export { Outbox } from './outbox.js';
export type {
  ConnectionEvent,
  InboxAddress,
  OutboxOptions,
  OutboxRest,
  Part,
  SendOptions,
  StallEvent,
} from './outbox-options.js';
export { Poller, type PollerOptions, type PollerSource, type PollerStatus } from './poller.js';
export type { Clock } from './port.js';
export type { WaitMode } from './pump.js';
export { Reservation } from './reservation.js';
export type {
  BootstrapStatus,
  InboxCounters,
  InboxStatus,
  LaneStatus,
  OutboxCounters,
  OutboxStatus,
  Stall,
} from './status.js';
