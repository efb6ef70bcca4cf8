// Registered memory of a sender that stays with it: receivers map it where memory is shared, or READ it.
//
// Invariant: a block belongs to its allocator until its last reference is released; only then is its memory used again,
// or given back. The sender of a reference to a block retains the block once for each message, and releases it when
// that message is *acknowledged* (onAcknowledged of the outbox): a receiver may read the block until it acknowledges,
// whatever happens to the message or its lane. Registered memory exceeds the limit only by what allocateBeyond() took,
// and idle memory is given back after some seconds.
//
//   segment  | block | block | block | ...        one memory region with one key; small blocks of one size share it,
//                                                 a large block has one of its own
import { RdmaError } from '../core/errors.js';
import { checkInteger, checkObject, invalidArgument } from '../core/validate.js';
import { AccessFlags, type Device } from '../verbs/index.js';
import { AdoptedSegment } from './adopted-segment.js';
import { Block } from './block.js';
import type { MemoryReference } from './memory-reference.js';
import type { PortDevice, PortDomain, PortMapping, RingPort } from './port.js';
import { Segment } from './segment.js';
import { SizeClass, sizeClassOf } from './size-class.js';
import { systemPort } from './system-port.js';

/**
 * Segments of small blocks are so long, but no larger part of the limit than that; blocks up to an eighth of it are
 * small.
 */
const SEGMENT_BYTES = 2 ** 20;
const SEGMENTS_WITHIN_LIMIT = 32;
const SMALL_BLOCKS = 8;
const DEFAULT_LIMIT_BYTES = 2 ** 30;
const MAX_LIMIT_BYTES = 2 ** 40;
/** What one Uint8Array can show. */
const MAX_BLOCK_BYTES = 2 ** 32 - 1;
const DEFAULT_IDLE_MS = 5000;
const MIN_ADOPTED = 64;

/** How to open a pool. */
export interface MemoryPoolOptions {
  /** Name of the device, default `soft0`; or an opened one, which stays the caller's. */
  device?: string | Device;
  /** The most registered memory in bytes, 4096 to 2^40; default 1 GiB. */
  limitBytes?: number;
  /** Segments without a block are given back after this many ms, at most twice that; 1 to 2^31 - 1, default 5000. */
  idleMs?: number;
}

/** Answered by {@link MemoryPool.status}. */
export interface MemoryPoolStatus {
  /** Registered with the device. */
  registeredBytes: number;
  /** Of those, in blocks that are allocated, with what rounding adds. */
  usedBytes: number;
  /** Blocks that are allocated. */
  blocks: number;
  segments: number;
}

/** The option `pool` of {@link Outbox.connect}. Made by {@link MemoryPool.open}; outlives its outboxes. */
export class MemoryPool implements Disposable {
  /** @internal */
  readonly device: PortDevice;
  /** @internal The domain of its memory, and of the queue pairs of its outboxes. */
  readonly domain: PortDomain;
  private readonly port: RingPort;
  private readonly ownsDevice: boolean;
  private readonly limitBytes: number;
  private readonly idleMs: number;
  private readonly access: number;
  private readonly classes = new Map<number, SizeClass<Segment>>(); // by bytes of a block
  private readonly segments = new Set<Segment>(); // oldest first
  private readonly adopted = new WeakMap<PortMapping, AdoptedSegment>();
  private readonly adoptedByNumber = new Map<number, WeakRef<AdoptedSegment>>();
  private adoptedLimit = MIN_ADOPTED; // above it those that are gone are looked for
  private registeredBytes = 0;
  private usedBytes = 0;
  private blocks = 0;
  private segmentsMade = 0;
  private stopTicking: (() => void) | undefined;
  private closed = false;

  private constructor(options: MemoryPoolOptions, port: RingPort) {
    checkObject('options', options);
    this.limitBytes = checkInteger('limitBytes', options.limitBytes ?? DEFAULT_LIMIT_BYTES, 4096, MAX_LIMIT_BYTES);
    this.idleMs = checkInteger('idleMs', options.idleMs ?? DEFAULT_IDLE_MS, 1, 2 ** 31 - 1);
    this.port = port;
    const { device, owned } = port.device(options.device);
    this.device = device;
    this.ownsDevice = owned;
    try {
      const { LOCAL_WRITE, REMOTE_READ, REMOTE_WRITE, REMOTE_MAP } = AccessFlags;
      // Whoever maps may store: that is the only way in which the soft device shares pages.
      const isShared = device.portAddress().type === 'soft';
      this.access = LOCAL_WRITE | REMOTE_READ | (isShared ? REMOTE_WRITE | REMOTE_MAP : 0);
      this.domain = device.allocateProtectionDomain();
    } catch (error) {
      if (owned) device.close();
      throw error;
    }
  }

  /**
   * Opens a pool. It registers nothing before the first block is allocated.
   *
   * @throws RdmaError RDMA_ERR_NO_DEVICE; RDMA_ERR_INVALID_ARGUMENT; ENOMEM
   */
  static open(options: MemoryPoolOptions = {}): MemoryPool {
    return MemoryPool.openOn(systemPort, options);
  }

  /** @internal The same on another port. */
  static openOn(port: RingPort, options: MemoryPoolOptions = {}): MemoryPool {
    return new MemoryPool(options, port);
  }

  /** What an operator asks. */
  status(): MemoryPoolStatus {
    const { registeredBytes, usedBytes, blocks, segments } = this;
    return { registeredBytes, usedBytes, blocks, segments: segments.size };
  }

  /**
   * Memory for one message, or for any bytes that messages refer to. Its contents are what was there before.
   *
   * @param bytes its length, 0 to 2^32 - 1
   * @returns a block with one reference, the caller's; undefined while the limit is reached, until blocks are released
   * @throws RdmaError RDMA_ERR_MESSAGE_TOO_LARGE for more than the limit; ENOMEM when the system has no memory;
   *   RDMA_ERR_CLOSED; RDMA_ERR_INVALID_ARGUMENT
   */
  allocate(bytes: number): Block | undefined {
    checkInteger('bytes', bytes, 0, MAX_BLOCK_BYTES);
    if (this.closed) throw new RdmaError('RDMA_ERR_CLOSED', 'the memory pool is closed');
    return this.allocateFrom(this.classFor(bytes), bytes, this.limitBytes);
  }

  /**
   * @internal As allocate(), also when the limit is reached: for what cannot wait for blocks to be released.
   *
   * @throws RdmaError as allocate()
   */
  allocateBeyond(bytes: number): Block {
    checkInteger('bytes', bytes, 0, MAX_BLOCK_BYTES);
    if (this.closed) throw new RdmaError('RDMA_ERR_CLOSED', 'the memory pool is closed');
    return this.allocateFrom(this.classFor(bytes), bytes, Number.POSITIVE_INFINITY)!;
  }

  private allocateFrom(blocks: SizeClass<Segment>, bytes: number, limitBytes: number): Block | undefined {
    if (blocks.isEmpty && !this.grow(blocks, limitBytes)) return undefined;
    const segment = blocks.segment;
    const offset = blocks.take();
    segment.taken();
    this.usedBytes += blocks.blockBytes;
    this.blocks++;
    return new Block(this, segment, offset, bytes);
  }

  private classFor(bytes: number): SizeClass<Segment> {
    // Not beyond what there may be: what is asked for fits, though perhaps not what it is rounded up to.
    const size = Math.min(sizeClassOf(bytes), this.limitBytes - (this.limitBytes % 64));
    if (size < bytes) {
      const text = `a block of ${bytes} bytes is more than the ${this.limitBytes} bytes of the pool`;
      throw new RdmaError('RDMA_ERR_MESSAGE_TOO_LARGE', text, { remedy: 'raise limitBytes' });
    }
    let blocks = this.classes.get(size);
    if (blocks === undefined) {
      blocks = new SizeClass<Segment>(size);
      this.classes.set(size, blocks);
    }
    return blocks;
  }

  // Registers one more segment of this class; false when the limit does not allow it.
  private grow(blocks: SizeClass<Segment>, limitBytes: number): boolean {
    const { blockBytes } = blocks;
    const shared = Math.min(SEGMENT_BYTES, Math.floor(this.limitBytes / SEGMENTS_WITHIN_LIMIT));
    const wanted = blockBytes * SMALL_BLOCKS > shared ? blockBytes : shared - (shared % blockBytes);
    while (this.registeredBytes + blockBytes > limitBytes) if (!this.dropOneIdle()) return false;
    const left = Math.max(blockBytes, this.limitBytes - this.registeredBytes);
    const bytes = Math.min(wanted, left - (left % blockBytes));
    const memory = this.register(bytes);
    const segment = new Segment(++this.segmentsMade, blocks, memory);
    this.segments.add(segment);
    this.registeredBytes += bytes;
    blocks.add(segment);
    this.tick();
    return true;
  }

  private register(bytes: number) {
    for (;;) {
      try {
        return this.domain.registerMemory({ bytes, access: this.access });
      } catch (error) {
        // What nobody uses may be what the system lacks.
        if ((error as RdmaError).code !== 'ENOMEM' || !this.dropOneIdle()) throw error;
      }
    }
  }

  /** @internal The last reference of a block was released. */
  freed(segment: Segment, offset: number): void {
    if (this.closed) return;
    segment.given();
    segment.blocks.give(segment, offset);
    this.usedBytes -= segment.blocks.blockBytes;
    this.blocks--;
    if (segment.used === 0 && this.stopTicking === undefined) this.tick();
  }

  /**
   * @internal The device, for an outbox that was given `device` as its own.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for another one; RDMA_ERR_CLOSED
   */
  lend(device: unknown): { device: PortDevice; owned: false } {
    if (this.closed) throw new RdmaError('RDMA_ERR_CLOSED', 'the memory pool is closed');
    if (device !== undefined && device !== this.device && device !== this.device.name) {
      throw invalidArgument('device', device, `the pool's, ${this.device.name}, or left out`);
    }
    return { device: this.device, owned: false };
  }

  /**
   * Offers memory of another process, which is mapped here, to receivers of this pool's outboxes: what came by
   * reference goes on by reference. See {@link InboxMessage.handOn}, which does it for one message.
   *
   * @returns the same one for the same mapping; it ends with the mapping, or with the pool
   * @throws RdmaError ENOTSUP where peers share no memory; ENOMEM; RDMA_ERR_CLOSED
   */
  adopt(mapping: PortMapping): AdoptedSegment {
    if (this.closed) throw new RdmaError('RDMA_ERR_CLOSED', 'the memory pool is closed');
    let segment = this.adopted.get(mapping);
    if (segment === undefined) {
      segment = new AdoptedSegment(++this.segmentsMade, this.domain.registerMapping(mapping, this.access));
      this.adopted.set(mapping, segment);
      this.keepAdopted(segment);
    }
    return segment;
  }

  private keepAdopted(segment: AdoptedSegment): void {
    const { adoptedByNumber } = this;
    if (adoptedByNumber.size >= this.adoptedLimit) {
      for (const [number, of] of adoptedByNumber) if (of.deref() === undefined) adoptedByNumber.delete(number);
      this.adoptedLimit = Math.max(MIN_ADOPTED, 2 * adoptedByNumber.size);
    }
    adoptedByNumber.set(segment.number, new WeakRef(segment));
  }

  /**
   * @internal The bytes that a reference of this pool names: of a block, or of memory that it has adopted.
   *
   * @returns undefined when they are not there any more
   */
  bytesOf(reference: MemoryReference): Uint8Array | undefined {
    const { segment: number, address, segmentAddress, length } = reference;
    const at = address - segmentAddress;
    for (const segment of this.segments) {
      if (segment.number === number) return segment.data.subarray(at, at + length);
    }
    return this.adoptedByNumber.get(number)?.deref()?.bytesAt(at, length);
  }

  // ---- What is idle goes back

  private dropOneIdle(): boolean {
    let idle: Segment | undefined;
    for (const segment of this.segments) {
      if (segment.used === 0 && (idle === undefined || segment.idleTicks > idle.idleTicks)) idle = segment;
    }
    if (idle !== undefined) this.drop(idle);
    return idle !== undefined;
  }

  private drop(segment: Segment): void {
    this.segments.delete(segment);
    this.registeredBytes -= segment.bytes;
    segment.blocks.remove(segment);
    segment.close();
  }

  // Looks for idle segments now and then, as long as there are any; keeps no process alive.
  private tick(): void {
    this.stopTicking ??= this.port.clock.after(this.idleMs, this.onTick, true);
  }

  private readonly onTick = (): void => {
    this.stopTicking = undefined;
    let idle = false;
    for (const segment of this.segments) {
      if (segment.used > 0) continue;
      if (segment.idleTicks > 0) this.drop(segment);
      else {
        segment.idleTicks++;
        idle = true;
      }
    }
    if (idle) this.tick();
  };

  // ---- End

  /**
   * Gives all memory back; views of it have length 0 afterwards. Close the outboxes that use the pool before: their
   * queue pairs end with it. A second call does nothing.
   *
   * @throws RdmaError with the errno when the device refuses
   */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.stopTicking?.();
    this.stopTicking = undefined;
    this.segments.clear();
    this.classes.clear();
    this.registeredBytes = 0;
    this.usedBytes = 0;
    this.blocks = 0;
    this.domain.close();
    if (this.ownsDevice) this.device.close();
  }

  /** As {@link MemoryPool.close}. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** The option `pool` of an outbox. @internal @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkPool(pool: unknown): MemoryPool | undefined {
  if (pool === undefined || pool instanceof MemoryPool) return pool;
  throw invalidArgument('pool', pool, 'a MemoryPool');
}
