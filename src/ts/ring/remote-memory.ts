// Mapped memory of producers: an inbox reads blocks where they are, without a copy.
//
// Invariant: a segment is mapped once, and stays mapped while a message that uses it is held, and for some seconds at
// most after that, as the producer cannot give the memory back before. A segment is identified by its number, which its
// producer never gives twice: keys and addresses may come again for other memory. If the producer dies, mapped memory
// stays as it is.
import { RdmaError } from '../core/errors.js';
import { checkReference, type MemoryReference } from './memory-reference.js';
import type { Clock, PortDevice, PortDomain, PortMapping, PortQueuePair } from './port.js';

/** Segments of one producer that are mapped at a time. */
const MAX_SEGMENTS = 1024;
/** Mappings that nobody uses go after that, at most twice that. */
const IDLE_MS = 5000;

/** What the device answers when the producer is not there. */
const GONE = new Set(['ESRCH', 'ENOTCONN', 'EINVAL', 'EHOSTUNREACH', 'RDMA_ERR_CLOSED']);
/** What it answers for a reference that its producer does not allow. */
const WRONG = new Set(['EACCES', 'ESTALE']);

/** An incarnation of a producer, as the inbox knows it. */
export interface MemoryOwner {
  readonly name: string;
  /** Through which it is reached now; undefined while it is away. */
  readonly lane: { readonly qp: PortQueuePair } | undefined;
}

/** One segment of a producer, mapped. */
export class RemoteSegment {
  readonly owner: MemoryOwner;
  readonly number: number;
  readonly address: number;
  readonly rkey: number;
  readonly bytes: number;
  readonly mapping: PortMapping;
  /** Pieces of it that messages which are held have mapped. */
  uses = 0;
  /** How often it was found unused since it was used. */
  idleTicks = 0;

  constructor(owner: MemoryOwner, reference: MemoryReference, mapping: PortMapping) {
    this.owner = owner;
    this.number = reference.segment;
    this.address = reference.segmentAddress;
    this.rkey = reference.rkey;
    this.bytes = reference.segmentBytes;
    this.mapping = mapping;
  }

  /** A view of a piece that is all inside. */
  view({ address, length }: MemoryReference): Uint8Array {
    return new Uint8Array(this.mapping.buffer, address - this.address, length);
  }
}

/** All that an inbox has mapped. */
export class RemoteMemory {
  /** Bytes that are mapped. */
  mappedBytes = 0;
  private readonly device: PortDevice;
  private readonly clock: Clock;
  private domain: PortDomain | undefined;
  private readonly producers = new Map<MemoryOwner, Map<number, RemoteSegment>>();
  private stopTicking: (() => void) | undefined;
  private closed = false;

  constructor(device: PortDevice, clock: Clock) {
    this.device = device;
    this.clock = clock;
  }

  /**
   * Maps the segment of a reference, for somebody who lets go of it later.
   *
   * @returns undefined where peers share no memory
   * @throws RdmaError RDMA_ERR_PROTOCOL for a reference that is wrong or that the producer does not allow;
   *   RDMA_ERR_PEER_GONE; RDMA_ERR_BUSY when too many segments of this producer are held; RDMA_ERR_CLOSED; ENOMEM
   */
  hold(owner: MemoryOwner, reference: MemoryReference): RemoteSegment | undefined {
    checkReference(reference);
    if (this.closed) throw new RdmaError('RDMA_ERR_CLOSED', 'the inbox is closed');
    const known = this.producers.get(owner)?.get(reference.segment);
    if (known !== undefined) checkSame(known, reference);
    const segment = known ?? this.map(owner, reference);
    if (segment === undefined) return undefined;
    segment.uses++;
    segment.idleTicks = 0;
    return segment;
  }

  /** One use less. */
  letGo(segment: RemoteSegment): void {
    segment.uses--;
    if (this.closed || segment.uses > 0) return;
    // Of a producer that has gone nothing is kept for later.
    if (segment.owner.lane === undefined) this.unmap(segment);
    else this.tick();
  }

  private map(owner: MemoryOwner, reference: MemoryReference): RemoteSegment | undefined {
    const { lane, name } = owner;
    if (lane === undefined || lane.qp.closed) throw new RdmaError('RDMA_ERR_PEER_GONE', `${name} is away`);
    this.makeRoom(owner);
    this.domain ??= this.device.allocateProtectionDomain();
    const { segmentAddress, rkey, segmentBytes } = reference;
    let mapping: PortMapping;
    try {
      mapping = lane.qp.mapRemote(segmentAddress, rkey, segmentBytes, this.domain);
    } catch (error) {
      const { code } = error as RdmaError;
      if (code === 'ENOTSUP') return undefined;
      if (WRONG.has(code)) {
        throw new RdmaError('RDMA_ERR_PROTOCOL', `${name} refers to memory that cannot be mapped`, { cause: error });
      }
      if (GONE.has(code)) throw new RdmaError('RDMA_ERR_PEER_GONE', `${name} is away`, { cause: error });
      throw error;
    }
    const segment = new RemoteSegment(owner, reference, mapping);
    let segments = this.producers.get(owner);
    if (segments === undefined) {
      segments = new Map();
      this.producers.set(owner, segments);
    }
    segments.set(segment.number, segment);
    this.mappedBytes += segment.bytes;
    return segment;
  }

  private makeRoom(owner: MemoryOwner): void {
    const segments = this.producers.get(owner);
    if (segments === undefined || segments.size < MAX_SEGMENTS) return;
    for (const segment of segments.values()) {
      if (segment.uses > 0) continue;
      this.unmap(segment);
      return;
    }
    const text = `messages of ${owner.name} hold ${segments.size} segments of its memory`;
    throw new RdmaError('RDMA_ERR_BUSY', text, { remedy: 'release messages' });
  }

  private unmap(segment: RemoteSegment): void {
    const { owner, number, bytes } = segment;
    const segments = this.producers.get(owner);
    if (segments?.get(number) !== segment) return;
    segments.delete(number);
    if (segments.size === 0) this.producers.delete(owner);
    this.mappedBytes -= bytes;
    segment.mapping.close();
  }

  // Looks for what is unused now and then, as long as something is; keeps no process alive.
  private tick(): void {
    this.stopTicking ??= this.clock.after(IDLE_MS, this.onTick, true);
  }

  private readonly onTick = (): void => {
    this.stopTicking = undefined;
    let idle = false;
    for (const segments of [...this.producers.values()]) {
      for (const segment of [...segments.values()]) {
        if (segment.uses > 0) continue;
        if (segment.idleTicks++ > 0) this.unmap(segment);
        else idle = true;
      }
    }
    if (idle) this.tick();
  };

  /** The producer has lost its lane: what no message uses goes now, the rest with the messages that use it. */
  laneEnded(owner: MemoryOwner): void {
    for (const segment of [...(this.producers.get(owner)?.values() ?? [])]) {
      if (segment.uses === 0) this.unmap(segment);
    }
  }

  /** Unmaps everything; views have length 0 afterwards. */
  close(): void {
    this.closed = true;
    this.stopTicking?.();
    for (const segments of this.producers.values()) for (const { mapping } of segments.values()) mapping.close();
    this.producers.clear();
    this.mappedBytes = 0;
    this.domain?.close();
  }
}

// A producer that says something else of a segment than before.
function checkSame(known: RemoteSegment, { rkey, segmentAddress, segmentBytes, segment }: MemoryReference): void {
  if (known.rkey === rkey && known.address === segmentAddress && known.bytes === segmentBytes) return;
  const text = `${known.owner.name} says of its segment ${segment} what it has not said before`;
  throw new RdmaError('RDMA_ERR_PROTOCOL', text);
}
