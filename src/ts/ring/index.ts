// The ring layer: inbox and outbox over the double-ring protocol.
export { RdmaError } from '../core/errors.js';
export { Inbox, type InboxOptions, type LaneEvent } from './inbox.js';
export type { Lane, LaneCounters } from './lane.js';
export { InboxMessage } from './message.js';
export { type ConnectionEvent, type InboxAddress, Outbox, type OutboxOptions, type SendOptions } from './outbox.js';
export type { WaitMode } from './pump.js';
