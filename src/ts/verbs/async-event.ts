// Asynchronous events of a device: what happens to it and its objects beside completions.
//
// Invariant: an event is acknowledged in native code before anybody sees it here, so that closing its object never
// waits for a listener; an event of an object that has been closed meanwhile names it by number only.
import type { CompletionQueue } from './completion-queue.js';
import type { QueuePair } from './queue-pair.js';
import type { SharedReceiveQueue } from './shared-receive-queue.js';

/** Types of event (ibv_event_type). */
export const AsyncEventType = {
  CQ_ERR: 0,
  QP_FATAL: 1,
  QP_REQ_ERR: 2,
  QP_ACCESS_ERR: 3,
  COMM_EST: 4,
  SQ_DRAINED: 5,
  PATH_MIG: 6,
  PATH_MIG_ERR: 7,
  DEVICE_FATAL: 8,
  PORT_ACTIVE: 9,
  PORT_ERR: 10,
  LID_CHANGE: 11,
  PKEY_CHANGE: 12,
  SM_CHANGE: 13,
  SRQ_ERR: 14,
  SRQ_LIMIT_REACHED: 15,
  QP_LAST_WQE_REACHED: 16,
  CLIENT_REREGISTER: 17,
  GID_CHANGE: 18,
  WQ_FATAL: 19,
} as const;

/** The name of a type of event; `UNKNOWN` for one that is newer than this library. */
export type AsyncEventName = keyof typeof AsyncEventType | 'UNKNOWN';

const words: Readonly<Record<AsyncEventName, string>> = {
  CQ_ERR: 'completion queue error: more completions came than it holds; it cannot be used any more',
  QP_FATAL: 'queue pair fatal error: it is in the ERROR state',
  QP_REQ_ERR: 'the peer sent an invalid request to this queue pair',
  QP_ACCESS_ERR: 'the peer asked this queue pair for memory that it may not have',
  COMM_EST: 'the first packet came for a queue pair that is not ready to send yet',
  SQ_DRAINED: 'the send queue has drained',
  PATH_MIG: 'the connection has moved to its alternate path',
  PATH_MIG_ERR: 'the connection could not move to its alternate path',
  DEVICE_FATAL: 'the device has failed or was removed: close everything on it',
  PORT_ACTIVE: 'a port has become active',
  PORT_ERR: 'a port has gone down',
  LID_CHANGE: 'a port has another LID',
  PKEY_CHANGE: 'the partition keys of a port have changed',
  SM_CHANGE: 'a port has another subnet manager',
  SRQ_ERR: 'shared receive queue error: it cannot be used any more',
  SRQ_LIMIT_REACHED: 'a shared receive queue holds fewer receives than its limit',
  QP_LAST_WQE_REACHED: 'a queue pair has taken its last receive from the shared receive queue',
  CLIENT_REREGISTER: 'the subnet manager asks clients to register again',
  GID_CHANGE: 'the GID table of a port has changed',
  WQ_FATAL: 'work queue fatal error',
  UNKNOWN: 'an event that this library does not know',
};

/** One asynchronous event; see ibv_get_async_event(3). */
export interface AsyncEvent {
  /** A value of {@link AsyncEventType}. */
  type: number;
  name: AsyncEventName;
  /** What it means. */
  words: string;
  /** The queue pair that it is about, when it is open. */
  queuePair?: QueuePair;
  /** The completion queue that it is about, when it is open. */
  completionQueue?: CompletionQueue;
  /** The shared receive queue that it is about, when it is open. */
  sharedReceiveQueue?: SharedReceiveQueue;
  /** The port that it is about. */
  port?: number;
  /** The object's number as the device gave it: a qpNum, a queue's `number`, a port; 0 for the device. */
  element: number;
}

/** @internal The open objects of a device that events can be about, by number. */
export interface EventElements {
  queuePairs: Map<number, QueuePair>;
  completionQueues: Map<number, CompletionQueue>;
  sharedReceiveQueues: Map<number, SharedReceiveQueue>;
}

const names = new Map<number, AsyncEventName>(
  Object.entries(AsyncEventType).map(([name, type]) => [type, name as AsyncEventName]),
);

/** @internal The event that people get, from what native code says. */
export function describeEvent(type: number, element: number, elements: EventElements): AsyncEvent {
  const name = names.get(type) ?? 'UNKNOWN';
  const event: AsyncEvent = { type, name, words: words[name], element };
  if (/^(PORT|LID|PKEY|SM_|CLIENT|GID)/.test(name)) event.port = element;
  const queuePair = /^(QP_|COMM_|SQ_|PATH_)/.test(name) ? elements.queuePairs.get(element) : undefined;
  const completionQueue = name === 'CQ_ERR' ? elements.completionQueues.get(element) : undefined;
  const sharedReceiveQueue = name.startsWith('SRQ_') ? elements.sharedReceiveQueues.get(element) : undefined;
  if (queuePair !== undefined) event.queuePair = queuePair;
  if (completionQueue !== undefined) event.completionQueue = completionQueue;
  if (sharedReceiveQueue !== undefined) event.sharedReceiveQueue = sharedReceiveQueue;
  return event;
}
