// The options and events of an inbox.
//
// Invariant: every option has its unit in its name and its bounds beside it; an option out of bounds is refused when
// the inbox is opened, before anything is made.
import type { RdmaError } from '../core/errors.js';
import { checkBoolean, checkFunction, checkInteger, checkObject, checkOneOf } from '../core/validate.js';
import type { Device } from '../verbs/index.js';
import { MAX_DATA_BYTES, MAX_INLINE_BYTES, MAX_PULL_BYTES, MAX_SLOTS } from './negotiation-messages.js';
import { alignedLength } from './layout.js';
import type { InboxMessage } from './message.js';
import { checkPoller, type Poller } from './poller.js';
import { WAIT_MODES, type WaitMode } from './pump.js';

/** How to open an inbox. */
export interface InboxOptions {
  /** Shared with the producers, at least 8 bytes. */
  secret: string | Uint8Array;
  /** Where producers connect (TCP); default 127.0.0.1 and a free port. */
  host?: string;
  port?: number;
  /** Name of the device, default `soft0`; or an opened one, which stays the caller's. */
  device?: string | Device;
  /** The most producers at a time, 1 to 4096; default 64. Each may take up to `maxDataBytes` of memory. */
  maxLanes?: number;
  /** The most descriptors of a lane, 1 to 4095; default 1024. A lane has what its producer asks for, up to this. */
  maxSlots?: number;
  /** The most bytes of a lane's data ring; default 64 MiB. */
  maxDataBytes?: number;
  /**
   * The most room for a short message behind each descriptor, 0 to 960 bytes; default 960. See `inlineBytes` of an
   * outbox.
   */
  maxInlineBytes?: number;
  /**
   * The largest message that may be left with its producer until {@link InboxMessage.pull}, up to 2^32 - 1 bytes;
   * default 0: none, and every message fits its lane. Memory is taken when it is pulled, not before.
   */
  maxPullBytes?: number;
  /** Producers may build messages in their lanes where memory is shared (soft devices); default true. */
  inPlace?: boolean;
  /**
   * How to wait; default `adaptive`. With `busy`, call {@link Inbox.poll}, with or without `onMessage`; what is awaited
   * (the iterator, pull(), read(), drain()) polls itself.
   */
  wait?: WaitMode;
  /** Shares its polling and sleeping with other inboxes and outboxes of the process; only with `wait: 'adaptive'`. */
  poller?: Poller;
  /** Called with each message, in the turn in which it arrived. Without it, iterate over the inbox. */
  onMessage?: (message: InboxMessage) => void;
  /** Told of every lane that opens and ends, and of who was not let in: of strangers at most eight times a second. */
  onLane?: (event: LaneEvent) => void;
}

/** What happens to lanes. A lane that is `quarantined` was fenced, and a late writer may still be inside its memory. */
export interface LaneEvent {
  type: 'open' | 'fenced' | 'quarantined' | 'refused';
  /** Name of the producer; the address of one that has not proved that it knows the secret. */
  from: string;
  /** Identity of the producer; empty when it was refused before it said. */
  producer: string;
  reason?: RdmaError;
  /** With `refused`: how many refusals the event covers; it describes the last one. More than 1 when many come. */
  count?: number;
}

/** The bounds of an inbox. */
export interface Limits {
  lanes: number;
  slots: number;
  dataBytes: number;
  inlineBytes: number;
  pullBytes: number;
  inPlace: boolean;
  wait: WaitMode;
  poller: Poller | undefined;
}

/** @internal @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkLimits(options: InboxOptions): Limits {
  checkObject('options', options);
  for (const name of ['onMessage', 'onLane'] as const) {
    if (options[name] !== undefined) checkFunction(name, options[name]);
  }
  return {
    lanes: checkInteger('maxLanes', options.maxLanes ?? 64, 1, 4096),
    slots: checkInteger('maxSlots', options.maxSlots ?? 1024, 1, MAX_SLOTS),
    dataBytes: checkInteger('maxDataBytes', options.maxDataBytes ?? 64 * 2 ** 20, 64, MAX_DATA_BYTES),
    inlineBytes: alignedLength(
      checkInteger('maxInlineBytes', options.maxInlineBytes ?? MAX_INLINE_BYTES, 0, MAX_INLINE_BYTES),
    ),
    pullBytes: checkInteger('maxPullBytes', options.maxPullBytes ?? 0, 0, MAX_PULL_BYTES),
    inPlace: checkBoolean('inPlace', options.inPlace ?? true),
    wait: checkOneOf('wait', options.wait ?? 'adaptive', WAIT_MODES),
    poller: checkPoller(options.poller, options.wait),
  };
}
