// The reader of a lane's descriptors: it finds the next message, and checks it before anything uses it.
//
// Invariant: messages are taken in the order of their sequences; a message is taken only when its descriptor is exactly
// the expected one and its bytes are there. If something is wrong, `problem` says what, and nothing is taken.
import { crc32cOf } from '../verbs/index.js';
import { MAX_PULL_BYTES } from './negotiation-messages.js';
import type { LaneMemory, LaneShape } from './lane-memory.js';
import type { LaneSpace } from './lane-space.js';
import {
  DESCRIPTOR_BYTES,
  DESCRIPTOR_WORDS,
  DescriptorFlags,
  decodeDescriptor,
  emptyDescriptor,
  MessageKind,
  saysShort,
  shortLength,
  showsSequence,
} from './layout.js';
import { slotOf } from './positions.js';
import type { ProducerProgress } from './producer-progress.js';

// As constants of this file: what another file exports is looked up at each use.
const { DATA, SKIP, PULL } = MessageKind;
const { INLINE, PAYLOAD_CRC, SHORT } = DescriptorFlags;
const INLINE_AT = DESCRIPTOR_BYTES;
const MESSAGE_WORD = DESCRIPTOR_WORDS;

/** What is there of a lane that is stored into: nothing; a SHORT message; OTHER, of which arrived() says what it is. */
export const Next = { NOTHING: 0, SHORT: 1, OTHER: 2 } as const;
const NEXT_NOTHING = Next.NOTHING;
const NEXT_SHORT = Next.SHORT;
const NEXT_OTHER = Next.OTHER;

/** How long a descriptor may be half stored; and half written, of which a network may have to send the rest again. */
const TORN_MS = { mapped: 1000, written: 5000 };
/** After so many looks without the completion of what is there the queue is not looked at more often for it. */
const MOST_AWAITED_LOOKS = 1024;

/** What a reader needs of the inbox. */
export interface ReaderHost {
  /** The largest message that is pulled; 0: none. */
  readonly maxPullBytes: number;
  /** The time, for the age of a message: perhaps of some polls ago. */
  nowMs(): number;
  /** The time right now. */
  clockMs(): number;
}

export class LaneReader {
  /** The message that was taken last. */
  readonly descriptor = emptyDescriptor();
  /** Where it begins in the memory of the lane, unless it is to be pulled. */
  offset = 0;
  /** The next message is there: arrived() has read its descriptor, and take() takes it. */
  peeked = false;
  /** The next message was seen, and a completion must come before its bytes may be read: their order is known to the
   * device, not to who looks at memory (InfiniBand Architecture Specification, C9-10 and o9-20). */
  awaitsLanding = false;
  /** Why the last call took nothing, when the producer does not keep to the protocol. */
  problem: string | undefined;
  /** Messages that were taken, and their bytes. */
  messages = 0;
  bytes = 0;

  // The shape, as fields of this object: it is asked for each message.
  private readonly dataBytes: number;
  private readonly inlineBytes: number;
  /** The first word of the short message that was read last: asked for early, as it comes from another processor. */
  firstWord = 0;
  private nextSlot: number; // of the message that comes next
  private isShort = false; // the message whose descriptor was read
  private readonly inPlace: boolean;
  private readonly isStored: boolean; // by its producer, in order, and looked at
  private readonly slots: number;
  private readonly space: LaneSpace;
  private readonly progress: ProducerProgress;
  private readonly host: ReaderHost;
  private readonly epoch: number;
  private readonly words: Uint32Array;
  private readonly slotWords: number;
  private readonly data: Uint8Array;
  private readonly dataAt: number;
  private awaited = 0; // looks without the completion that is awaited
  private landed = 0; // messages of the data ring that have arrived for sure and were not taken, where it is polled
  private tornSinceMs = -1; // when arrived() began to find a wrong descriptor in the slot of the next one

  constructor(
    shape: LaneShape,
    epoch: number,
    memory: LaneMemory,
    space: LaneSpace,
    progress: ProducerProgress,
    host: ReaderHost,
  ) {
    this.dataBytes = shape.dataBytes;
    this.inlineBytes = shape.inlineBytes;
    this.inPlace = shape.inPlace;
    this.isStored = shape.inPlace && shape.polled;
    this.slots = shape.slots;
    this.epoch = epoch;
    this.words = memory.words;
    this.slotWords = memory.slotWords;
    this.data = memory.data;
    this.dataAt = memory.dataAt;
    this.space = space;
    this.nextSlot = slotOf(space.taken + 1, shape.slots);
    this.progress = progress;
    this.host = host;
  }

  /** Looks at the next slot of a lane that is stored into. A value of {@link Next}. */
  look(): number {
    const { words } = this;
    const at = this.nextSlot * this.slotWords;
    if (!showsSequence(words, at, this.space.taken + 1)) return NEXT_NOTHING;
    return this.isStored && saysShort(words, at) ? NEXT_SHORT : NEXT_OTHER;
  }

  /** Takes the short message that look() has found. False: `problem` says why. */
  takeShort(): boolean {
    const { progress, space } = this;
    const sequence = space.taken + 1;
    const slot = this.nextSlot;
    const at = slot * this.slotWords;
    if (!this.readShort(at, sequence)) return false;
    if (space.held >= this.slots || progress.full) return this.refuse(`message ${sequence} was sent without credit`);
    this.offset = at * 4 + INLINE_AT;
    this.taken(sequence, slot);
    return true;
  }

  // The message whose descriptor was read is the one that was taken last.
  private taken(sequence: number, slot: number): void {
    const { descriptor } = this;
    this.space.take(sequence, slot, descriptor.space);
    this.nextSlot = slot + 1 === this.slots ? 0 : slot + 1;
    this.progress.deliver(this.host.nowMs());
    this.messages++;
    this.bytes += descriptor.length;
  }

  /**
   * True when the next message of a polled lane is there, and can be taken. A descriptor that stays half written for
   * long is a `problem`: its producer has died or was stopped while it wrote it.
   */
  arrived(): boolean {
    const { words, descriptor } = this;
    const sequence = this.space.taken + 1;
    const at = this.nextSlot * this.slotWords;
    if (!showsSequence(words, at, sequence)) return false;
    if (this.isStored && saysShort(words, at)) {
      this.peeked = this.readShort(at, sequence);
      return this.peeked;
    }
    this.isShort = false;
    if (!decodeDescriptor(words, at, this.epoch, this.inlineBytes, descriptor)) return this.torn(sequence);
    this.tornSinceMs = -1;
    if (this.needsLanding && this.landed === 0) {
      this.awaitsLanding = ++this.awaited <= MOST_AWAITED_LOOKS;
      return false;
    }
    this.awaitsLanding = false;
    this.awaited = 0;
    this.peeked = true;
    return true;
  }

  private readShort(at: number, sequence: number): boolean {
    // Its line sets out from the producer's processor now, while the rest is looked at.
    this.firstWord = this.words[at + MESSAGE_WORD]! | 0;
    const length = shortLength(this.words, at, this.epoch, sequence, this.inlineBytes);
    if (length < 0) return this.refuse(`the descriptor of message ${sequence}, a short one, is wrong`);
    const { descriptor } = this;
    descriptor.kind = DATA;
    descriptor.flags = SHORT;
    descriptor.sequence = sequence;
    descriptor.length = length;
    descriptor.space = 0;
    this.isShort = true;
    this.tornSinceMs = -1;
    return true;
  }

  // Whether the message whose descriptor was read has its bytes where only a completion says that they are there.
  private get needsLanding(): boolean {
    return !this.inPlace && this.descriptor.space > 0 && (this.descriptor.flags & INLINE) === 0;
  }

  /** So many messages have arrived in the data ring of a polled lane. False: there cannot be so many. */
  land(count: number): boolean {
    this.landed += count;
    return !this.inPlace && this.landed <= this.slots;
  }

  private torn(sequence: number): false {
    const now = this.host.clockMs();
    if (this.tornSinceMs < 0) this.tornSinceMs = now;
    if (now - this.tornSinceMs < (this.inPlace ? TORN_MS.mapped : TORN_MS.written)) return false;
    return this.refuse(`the descriptor of message ${sequence} fails its checksum or has another epoch`);
  }

  private refuse(problem: string): false {
    this.problem = problem;
    return false;
  }

  /** Reads the next message, which a completion has announced, or arrived() has found. False: `problem` says why. */
  take(): boolean {
    const { progress, descriptor, space } = this;
    const sequence = space.taken + 1;
    const slot = this.nextSlot;
    const at = slot * this.slotWords;
    if (this.peeked) {
      this.peeked = false;
      if (this.needsLanding) this.landed--;
    } else {
      this.isShort = false;
      if (!decodeDescriptor(this.words, at, this.epoch, this.inlineBytes, descriptor)) {
        return this.refuse(`the descriptor of message ${sequence} fails its checksum or has another epoch`);
      }
    }
    if (descriptor.sequence !== sequence) {
      return this.refuse(`message ${descriptor.sequence} came where ${sequence} must come`);
    }
    // Of a short one this was seen when it was read.
    const { isShort } = this;
    const wrong = isShort ? undefined : this.wrongSize();
    if (wrong !== undefined) return this.refuse(`message ${sequence} ${wrong}`);
    if (space.held >= this.slots || progress.full) return this.refuse(`message ${sequence} was sent without credit`);
    if (!isShort && !space.isNext(descriptor.offset, descriptor.space)) {
      return this.refuse(`message ${sequence} lies at ${descriptor.offset}, where it must not lie`);
    }
    const isInline = isShort || (descriptor.flags & INLINE) !== 0;
    this.offset = isInline ? at * 4 + INLINE_AT : this.dataAt + descriptor.offset;
    if ((descriptor.flags & PAYLOAD_CRC) !== 0 && descriptor.kind === DATA) {
      const crc = crc32cOf(this.data, this.offset, descriptor.length);
      if (crc !== descriptor.payloadCrc) return this.refuse(`the payload of message ${sequence} fails its checksum`);
    }
    this.taken(sequence, slot);
    return true;
  }

  // What is wrong with kind, length and space of the descriptor.
  private wrongSize(): string | undefined {
    const { kind, length, space, address, flags } = this.descriptor;
    const { dataBytes, inlineBytes } = this;
    if ((flags & SHORT) !== 0) return 'is short where none may be';
    if (space > dataBytes) return `claims ${space} bytes of a ring of ${dataBytes}`;
    if ((flags & INLINE) !== 0) {
      const fits = kind === DATA && space === 0 && length > 0 && length <= inlineBytes;
      return fits ? undefined : `claims ${length} bytes behind its descriptor, of ${inlineBytes}`;
    }
    if (kind === DATA) return length > space ? `claims ${length} bytes in a space of ${space}` : undefined;
    if (kind === SKIP) return length > 0 ? 'is to be skipped and has a length' : undefined;
    if (kind !== PULL) return `is of kind ${kind}, which is not known`;
    const { maxPullBytes } = this.host;
    if (length > Math.min(maxPullBytes, MAX_PULL_BYTES)) {
      return `is to be pulled and has ${length} bytes, of ${maxPullBytes} that are allowed`;
    }
    return space > 0 || !Number.isSafeInteger(address) ? 'is to be pulled from nowhere' : undefined;
  }
}
