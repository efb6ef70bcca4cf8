// The options and events of an outbox.
//
// Invariant: every option has its unit in its name and its bounds beside it; an option out of bounds is refused when
// the outbox is opened, before anything is made.
import type { RdmaError } from '../core/errors.js';
import type { Secret } from '../core/secret.js';
import { checkBoolean, checkFunction, checkInteger, checkObject, checkOneOf, checkString } from '../core/validate.js';
import type { Device } from '../verbs/index.js';
import {
  MAX_DATA_BYTES,
  MAX_INLINE_BYTES,
  MAX_PULL_BYTES,
  MAX_RETAINED_MESSAGES,
  MAX_SLOTS,
} from './negotiation-messages.js';
import { alignedLength } from './layout.js';
import { checkPool, type MemoryPool } from './memory-pool.js';
import { checkPoller, type Poller } from './poller.js';
import { WAIT_MODES, type WaitMode } from './pump.js';
import type { Stall } from './status.js';

/** What {@link Outbox.close} gave up; all 0 when everything was acknowledged. */
export interface OutboxRest {
  /** Messages that were taken and not acknowledged: they may or may not have been delivered. */
  unacknowledged: number;
  /** Those of them that were never written to a lane: nobody has got them. */
  unwritten: number;
}

/** Where an inbox can be reached. */
export interface InboxAddress {
  host: string;
  port: number;
}

/** How to open an outbox. */
export interface OutboxOptions {
  /** The inbox's `bootstrap`; or a function that finds it, asked before every attempt to connect. */
  to: InboxAddress | (() => InboxAddress | Promise<InboxAddress>);
  /** Shared with the inbox, at least 8 bytes. */
  secret: string | Uint8Array;
  /** What the inbox calls this producer; default `pid-NUMBER`. */
  name?: string;
  /** Name of the device, default `soft0`; or an opened one, which stays the caller's. */
  device?: string | Device;
  /** Messages that may lie unreleased in the lane, 1 to 4095; default 64. The inbox may grant less. */
  slots?: number;
  /** Bytes of the lane's data ring; default 1 MiB. The inbox may grant less. */
  dataBytes?: number;
  /**
   * Messages up to this length travel with their descriptor, as one WRITE, 0 to 960 bytes, rounded up to 64; default
   * 64. Each slot takes so many bytes more, also on the way of a batch. Where the lane is mapped (`inPlace` on soft
   * devices), only if the inbox polls it (`wait: 'busy'`), and not with `checksum`: else there is nothing to gain.
   */
  inlineBytes?: number;
  /** Messages that may be unacknowledged, 1 to 65536; default 1024. */
  retainMessages?: number;
  /** Bytes for unacknowledged messages; default 4 * dataBytes. */
  retainBytes?: number;
  /**
   * Messages longer than this are pulled by the inbox instead of being written to the lane, if it pulls (its
   * `maxPullBytes`); default: only what the lane cannot take.
   */
  pullAboveBytes?: number;
  /** Registered memory for messages to be pulled, taken as needed, up to 2^40; default 1 GiB; 0: none are. */
  pullBytes?: number;
  /** Messages may be built in the lane itself where memory is shared (soft devices); default true. */
  inPlace?: boolean;
  /** Each message carries its CRC-32C, which the inbox checks before it delivers; default false. */
  checksum?: boolean;
  /** How to wait; default `adaptive`. With `busy`, call {@link Outbox.poll}; what is awaited polls itself. */
  wait?: WaitMode;
  /** Shares its polling and sleeping with other inboxes and outboxes of the process; only with `wait: 'adaptive'`. */
  poller?: Poller;
  /** Messages may refer to blocks of this pool, which outlives the outbox; the device is the pool's then. */
  pool?: MemoryPool;
  /** How long the inbox may be away before the outbox gives up, in ms; 0 gives up at once. Default 30 000. */
  reconnectMs?: number;
  /**
   * Before the first connection, a refusal for a wrong secret, version or service ends connect() at once; default
   * false. With true it does not, as after the first connection: the peer that refuses has not proved that it knows the
   * secret, and may be a stranger at the port. Use it when you know that the secret is right.
   */
  retryRefused?: boolean;
  /**
   * How long {@link Outbox.close} waits for what was sent to be acknowledged, in ms, up to 2^31 - 1; 0: not at all.
   * Default 5000.
   */
  closeMs?: number;
  /** Told each time the watermark of acknowledged messages moves. */
  onAcknowledged?: (sequence: number) => void;
  /** Told when the connection is lost, and when it is there again. */
  onConnection?: (event: ConnectionEvent) => void;
  /** Told when a message has to wait for room, and why; and when nothing waits any more. */
  onStall?: (event: StallEvent) => void;
}

/**
 * What happens to the connection of an outbox. `draining`: the inbox takes nothing more and will go away. `abandoned`:
 * close() has given up messages that were not acknowledged; `reason` says how many.
 */
export interface ConnectionEvent {
  type: 'open' | 'draining' | 'lost' | 'failed' | 'abandoned';
  reason?: RdmaError;
}

/** Back-pressure begins (`stalled`, with its cause) or has ended (`flowing`). */
export interface StallEvent {
  type: 'stalled' | 'flowing';
  cause?: Stall;
}

/** How to send. */
export interface SendOptions {
  /** Gives up waiting for room after this many ms; default never. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** A piece of a message: bytes, or any typed array or DataView. */
export type Part = ArrayBufferView;

/** Options as an outbox keeps them. @internal */
export type KeptOptions = Omit<OutboxOptions, 'secret'> & { secret: Secret<string | Uint8Array> };

/** Options with their defaults, checked. @internal */
export interface OutboxSettings {
  name: string;
  slots: number;
  dataBytes: number;
  inlineBytes: number;
  retainMessages: number;
  retainBytes: number;
  pullAboveBytes: number;
  pullBytes: number;
  inPlace: boolean;
  checksum: boolean;
  wait: WaitMode;
  poller: Poller | undefined;
  reconnectMs: number;
  retryRefused: boolean;
  closeMs: number;
  pool: MemoryPool | undefined;
}

const RETAINED_PAGE = 4096;

/** @internal @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkOutboxOptions(options: OutboxOptions): OutboxSettings {
  checkObject('options', options);
  if (typeof options.to !== 'function') checkObject('to', options.to);
  for (const name of ['onAcknowledged', 'onConnection', 'onStall'] as const) {
    if (options[name] !== undefined) checkFunction(name, options[name]);
  }
  const dataBytes = alignedLength(checkInteger('dataBytes', options.dataBytes ?? 2 ** 20, 64, MAX_DATA_BYTES));
  const retainBytes = checkInteger('retainBytes', options.retainBytes ?? 4 * dataBytes, 64, 2 ** 40);
  return {
    name: checkString('name', options.name ?? `pid-${process.pid}`, { minLength: 1, maxLength: 128 }),
    slots: checkInteger('slots', options.slots ?? 64, 1, MAX_SLOTS),
    dataBytes,
    inlineBytes: alignedLength(checkInteger('inlineBytes', options.inlineBytes ?? 64, 0, MAX_INLINE_BYTES)),
    retainMessages: checkInteger('retainMessages', options.retainMessages ?? 1024, 1, MAX_RETAINED_MESSAGES),
    retainBytes: Math.ceil(alignedLength(retainBytes) / RETAINED_PAGE) * RETAINED_PAGE,
    pullAboveBytes: checkInteger('pullAboveBytes', options.pullAboveBytes ?? MAX_PULL_BYTES, 0, MAX_PULL_BYTES),
    pullBytes: checkInteger('pullBytes', options.pullBytes ?? 2 ** 30, 0, 2 ** 40),
    inPlace: checkBoolean('inPlace', options.inPlace ?? true),
    checksum: checkBoolean('checksum', options.checksum ?? false),
    wait: checkOneOf('wait', options.wait ?? 'adaptive', WAIT_MODES),
    poller: checkPoller(options.poller, options.wait),
    pool: checkPool(options.pool),
    reconnectMs: checkInteger('reconnectMs', options.reconnectMs ?? 30_000, 0, 2 ** 31 - 1),
    retryRefused: checkBoolean('retryRefused', options.retryRefused ?? false),
    closeMs: checkInteger('closeMs', options.closeMs ?? 5000, 0, 2 ** 31 - 1),
  };
}
