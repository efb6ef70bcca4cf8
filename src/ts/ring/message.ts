// A message as the application of an inbox sees it.
//
// Invariant: `bytes` is a view of the lane itself, valid until release(); after that its contents may change, and after
// the inbox is closed its length is 0. For a pulled message it is the memory that it was pulled into, which stays.
// Releasing gives space back, acknowledging gives custody back.
import { types } from 'node:util';
import { RdmaError } from '../core/errors.js';
import { checkAbortSignal, checkInteger, checkObject, invalidArgument } from '../core/validate.js';
import { checkPool, type MemoryPool } from './memory-pool.js';
import { checkReference, type MemoryReference } from './memory-reference.js';
import type { PullProgress, PullSource } from './pulls.js';
import type { RemoteMemory, RemoteSegment } from './remote-memory.js';
import { WIDE_COPY_BYTES, wideCopy } from '../verbs/index.js';

/** How to wait for a message that is pulled. */
export interface PullOptions {
  /** Gives up after so many ms, 1 to 2^31 - 1; default 30 000. Also how long a producer that is away may stay away. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** What a message needs of its lane. @internal */
export interface MessageLane {
  readonly progress: PullProgress & { readonly producer: string };
  /** Of the message that was taken last. */
  readonly sequence: number;
  readonly length: number;
  /** Messages that are held, and that can be; bytes of the data ring that cannot be written now, and its size. */
  readonly held: number;
  readonly slots: number;
  readonly heldBytes: number;
  readonly dataBytes: number;
  release(sequence: number): void;
  acknowledge(sequence: number): void;
}

/** READs or maps what a producer holds. @internal */
export interface Puller {
  readonly remote: RemoteMemory;
  pull(source: PullSource, into: Uint8Array, timeoutMs: number, signal: AbortSignal | undefined): Promise<void>;
}

const PULL_TIMEOUT_MS = 30_000;

/** Delivered by an {@link Inbox}. */
export class InboxMessage {
  /** Name that the producer gave itself. */
  readonly from: string;
  /** Identity of this incarnation of the producer, 32 hexadecimal digits. */
  readonly producer: string;
  /** 1, 2, 3 ... for each producer incarnation; the number of a reservation that was given up is left out. */
  readonly sequence: number;
  /** Its length in bytes. */
  readonly length: number;
  private readonly lane: MessageLane;
  private readonly source: PullSource | undefined;
  private readonly puller: Puller;
  private view: Uint8Array | undefined;
  private pulling = false;
  private segments: RemoteSegment[] | undefined; // of its producer's memory, mapped for this message
  private released = false;

  /** @internal */
  constructor(lane: MessageLane, view: Uint8Array | undefined, source: PullSource | undefined, puller: Puller) {
    this.lane = lane;
    this.from = lane.progress.name;
    this.producer = lane.progress.producer;
    this.sequence = lane.sequence;
    this.length = lane.length;
    this.view = view;
    this.source = source;
    this.puller = puller;
  }

  /**
   * The message, in the lane's memory. Not a copy.
   *
   * @throws RdmaError RDMA_ERR_BUSY for a message that has to be pulled first (only an inbox with `maxPullBytes` gets
   *   such)
   */
  get bytes(): Uint8Array {
    if (this.view !== undefined) return this.view;
    const text = `message ${this.sequence} of ${this.from} has ${this.length} bytes that are still with it`;
    throw new RdmaError('RDMA_ERR_BUSY', text, { remedy: 'await message.pull() first' });
  }

  /**
   * Copies the message into memory of the caller's: the fastest way to read all of it once, as the lines that the
   * producer has written come from its core several at a time. Release it afterwards.
   *
   * @param target has room for `length` bytes from `offset` on; not memory of the lane
   * @param offset where to begin in `target`; default 0
   * @returns how many bytes were copied: `length`
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when there is no room; RDMA_ERR_BUSY as {@link InboxMessage.bytes}
   */
  copyTo(target: Uint8Array, offset = 0): number {
    const { bytes } = this;
    return copyOut(target, offset, bytes, 0, bytes.length);
  }

  /** True when pull() has to be called before `bytes` is there. */
  get isPulled(): boolean {
    return this.view === undefined;
  }

  /**
   * The whole message: READs it from its producer's memory, in segments, if it is not here. May be called for any
   * message, once without `into`, or again after it has failed; not after acknowledge().
   *
   * @param into where to; at least `length` bytes, not to be touched until this ends. Default: new memory
   * @returns the message: exactly `length` bytes of `into`; of a message that lay in the lane without `into`, `bytes`
   * @throws RdmaError RDMA_ERR_PEER_GONE when its producer is away and does not come back; RDMA_ERR_TIMEOUT;
   *   RDMA_ERR_ABORTED; RDMA_ERR_PROTOCOL when it fails its checksum; RDMA_ERR_BUSY; RDMA_ERR_CLOSED;
   *   RDMA_ERR_INVALID_ARGUMENT; ENOMEM
   */
  async pull(into?: Uint8Array, options: PullOptions = {}): Promise<Uint8Array> {
    checkObject('options', options);
    const timeoutMs = checkInteger('timeoutMs', options.timeoutMs ?? PULL_TIMEOUT_MS, 1, 2 ** 31 - 1);
    const signal = checkAbortSignal('signal', options.signal);
    if (into !== undefined && !(types.isUint8Array(into) && into.length >= this.length)) {
      throw invalidArgument('into', into, `a Uint8Array of at least ${this.length} bytes`);
    }
    if (this.view !== undefined) {
      if (into === undefined) return this.view;
      into.set(this.view);
      return into.subarray(0, this.length);
    }
    return this.pullFrom(this.source!, into ?? new Uint8Array(this.length), timeoutMs, signal);
  }

  private async pullFrom(
    source: PullSource,
    into: Uint8Array,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Uint8Array> {
    if (this.pulling) throw new RdmaError('RDMA_ERR_BUSY', `message ${this.sequence} is being pulled already`);
    if (source.progress.isAcknowledged(this.sequence)) {
      throw new RdmaError(
        'RDMA_ERR_CLOSED',
        `message ${this.sequence} was acknowledged: its producer has forgotten it`,
      );
    }
    this.pulling = true;
    try {
      const target = into.subarray(0, this.length);
      await this.puller.pull(source, target, timeoutMs, signal);
      this.view = target;
      return target;
    } finally {
      this.pulling = false;
    }
  }

  /**
   * Memory of the producer that this message refers to (see {@link MemoryPool}), mapped: not a copy, nothing is read.
   * What the producer stores there would be seen, so it does not before the message is acknowledged. The view stays,
   * also when the producer dies, until the message is released and acknowledged; some time after that its length is 0.
   *
   * @param reference as the message says it; every number in it is checked
   * @returns exactly its bytes; undefined where peers share no memory: read() them
   * @throws RdmaError RDMA_ERR_PROTOCOL for a reference that is wrong, or that the producer does not allow;
   *   RDMA_ERR_PEER_GONE when it is not mapped yet and the producer is away; RDMA_ERR_CLOSED when the message was
   *   acknowledged; RDMA_ERR_BUSY; ENOMEM
   */
  map(reference: MemoryReference): Uint8Array | undefined {
    return this.hold(reference)?.view(reference);
  }

  /**
   * A reference to the same bytes for messages of outboxes that use `pool`: their receivers map them from here, also
   * when their first owner is gone. Nothing is copied. It is good until this message is both released and
   * acknowledged: acknowledge it after everything that was sent with it was.
   *
   * @param reference as for map()
   * @returns undefined where peers share no memory
   * @throws RdmaError as map(), and as {@link MemoryPool.adopt}
   */
  handOn(reference: MemoryReference, pool: MemoryPool): MemoryReference | undefined {
    if (checkPool(pool) === undefined) throw invalidArgument('pool', pool, 'a MemoryPool');
    const segment = this.hold(reference);
    if (segment === undefined) return undefined;
    return pool.adopt(segment.mapping).reference(reference.address - segment.address, reference.length);
  }

  // The mapped segment of a reference, until the message is released and acknowledged.
  private hold(reference: MemoryReference): RemoteSegment | undefined {
    this.checkReferring();
    const segment = this.puller.remote.hold(this.lane.progress, reference);
    if (segment === undefined) return undefined;
    this.segments ??= [];
    this.segments.push(segment);
    return segment;
  }

  /**
   * READs memory of the producer that this message refers to, in segments. A READ that loses its lane begins again on
   * the next lane of the same producer. Until it ends the message cannot be acknowledged.
   *
   * @param reference as for map()
   * @param into where to; the first `reference.length` bytes of it, not to be touched until this ends
   * @throws RdmaError RDMA_ERR_PROTOCOL as from map(); RDMA_ERR_PEER_GONE when the producer is away and does not come
   *   back; RDMA_ERR_TIMEOUT; RDMA_ERR_ABORTED; RDMA_ERR_CLOSED; RDMA_ERR_INVALID_ARGUMENT; ENOMEM
   */
  async read(reference: MemoryReference, into: Uint8Array, options: PullOptions = {}): Promise<void> {
    checkObject('options', options);
    const timeoutMs = checkInteger('timeoutMs', options.timeoutMs ?? PULL_TIMEOUT_MS, 1, 2 ** 31 - 1);
    const signal = checkAbortSignal('signal', options.signal);
    this.checkReferring();
    checkReference(reference);
    const { address, rkey, length } = reference;
    if (!(types.isUint8Array(into) && into.length >= length)) {
      throw invalidArgument('into', into, `a Uint8Array of at least ${length} bytes`);
    }
    const { progress } = this.lane;
    const source = { what: 'block', progress, sequence: this.sequence, address, rkey, length, crc: undefined } as const;
    await this.puller.pull(source, into.subarray(0, length), timeoutMs, signal);
  }

  // What it refers to is the producer's again when it is acknowledged.
  private checkReferring(): void {
    if (!this.lane.progress.isAcknowledged(this.sequence)) return;
    throw new RdmaError('RDMA_ERR_CLOSED', `message ${this.sequence} was acknowledged: its memory is gone`);
  }

  /** How much of the lane cannot be written now, this message included, in bytes. */
  get laneHeldBytes(): number {
    return this.lane.heldBytes;
  }

  /** Size of the lane's data ring in bytes. */
  get laneBytes(): number {
    return this.lane.dataBytes;
  }

  /** How many messages of the lane are held, and how many it can hold. */
  get laneHeldMessages(): number {
    return this.lane.held;
  }

  /** How many messages the lane can hold. */
  get laneSlots(): number {
    return this.lane.slots;
  }

  /** The bytes are not needed any more. Space goes back to the producer in order, when all before are released too. */
  release(): void {
    this.released = true;
    this.lane.release(this.sequence);
    this.letGo();
  }

  // What it refers to is readable until it is both: space in the lane goes back before, where the message itself was
  // copied.
  private letGo(): void {
    if (this.segments === undefined || !this.released || !this.lane.progress.isAcknowledged(this.sequence)) return;
    for (const segment of this.segments) this.puller.remote.letGo(segment);
    this.segments = undefined;
  }

  /**
   * The producer may forget the message. Does not release it.
   *
   * @throws RdmaError RDMA_ERR_BUSY while it is being pulled
   */
  acknowledge(): void {
    this.lane.acknowledge(this.sequence);
    this.letGo();
  }

  /** Release and acknowledge. @throws as {@link InboxMessage.acknowledge} */
  done(): void {
    this.acknowledge();
    this.release();
  }
}

/** Up to so many bytes are copied without a view of them. */
const SHORT_BYTES = 128;

/** @internal Copies a message of `length` bytes that lies at `at` in `data`; see {@link InboxMessage.copyTo}. */
export function copyOut(target: Uint8Array, offset: number, data: Uint8Array, at: number, length: number): number {
  checkRoom(target, offset, length);
  if (length >= WIDE_COPY_BYTES) wideCopy(target, offset, data, at, length);
  else if (length > SHORT_BYTES) target.set(data.subarray(at, at + length), offset);
  else for (let i = 0; i < length; i++) target[offset + i] = data[at + i]!;
  return length;
}

function checkRoom(target: Uint8Array, offset: number, length: number): void {
  if (!types.isUint8Array(target)) throw invalidArgument('target', target, 'a Uint8Array');
  if (Number.isSafeInteger(offset) && offset >= 0 && offset + length <= target.length) return;
  throw invalidArgument('offset', offset, `an integer from 0 to ${target.length - length}, as ${length} bytes follow`);
}
