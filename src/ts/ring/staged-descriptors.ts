// The descriptors of a connection, built in memory of its own, slot by slot as in the lane.
//
// Invariant: the descriptor of a message is built when the message has its position, and is not touched until the inbox
// has released that: the device may read it at any time in between. The control block of the connection lies before the
// slots.
import type { Answer } from './negotiation-messages.js';
import {
  DESCRIPTOR_BYTES,
  DESCRIPTOR_WORDS,
  DescriptorFlags,
  emptyDescriptor,
  encodeDescriptor,
  inlineWords,
  MessageKind,
  usedSlotBytes,
} from './layout.js';
import type { PullMemory } from './pull-memory.js';
import { type Placement, WriteMode } from './placement.js';
import type { PortMemory } from './port.js';
import { Home, Phase, type RetainedMessages } from './retained-messages.js';

// As constants of this file: what another file exports is looked up at each use.
const { DATA, SKIP, PULL } = MessageKind;
const { READY, GIVEN_UP } = Phase;
const { PAYLOAD } = Home;
const { INLINE, PAYLOAD_CRC } = DescriptorFlags;
const { SLOT } = WriteMode;
const WORDS = DESCRIPTOR_WORDS;

export class StagedDescriptors {
  /** All of it, the control block first. */
  readonly words: Uint32Array;
  /** Where the first slot lies, and the key of the memory as a signed number, which is never an object. */
  readonly address: number;
  readonly key: number;
  /** A descriptor, and the room behind it. */
  readonly slotBytes: number;
  /** The one that describe() has made. */
  readonly descriptor = emptyDescriptor();
  private readonly slotWords: number;
  private readonly epoch: number;
  private readonly checksum: boolean;
  private readonly retained: RetainedMessages;
  private readonly retainedWords: Int32Array;
  private readonly pullMemory: PullMemory;
  private readonly placement: Placement;

  /** @param checksum descriptors say the checksum of their payload */
  constructor(
    memory: PortMemory,
    lane: Answer,
    placement: Placement,
    retained: RetainedMessages,
    pullMemory: PullMemory,
    checksum: boolean,
  ) {
    this.words = new Uint32Array(memory.buffer);
    this.address = memory.address + DESCRIPTOR_BYTES;
    this.key = memory.lkey | 0;
    this.slotBytes = placement.slotBytes;
    this.slotWords = this.slotBytes / 4;
    this.epoch = lane.epoch;
    this.checksum = checksum;
    this.retained = retained;
    this.retainedWords = retained.words;
    this.pullMemory = pullMemory;
    this.placement = placement;
  }

  /** Word at which a slot begins. */
  wordOf(slot: number): number {
    return WORDS + slot * this.slotWords;
  }

  /** Bytes of a slot that are used: its descriptor, and the message behind it. */
  usedBytes(slot: number): number {
    return usedSlotBytes(this.words, this.wordOf(slot));
  }

  /** Makes the descriptor of message `sequence`, which has its position, in `slot`, which is its own. */
  describe(sequence: number, slot: number): void {
    const { placement, retained, descriptor } = this;
    const phase = retained.phaseOf(sequence);
    descriptor.sequence = sequence;
    descriptor.offset = placement.offsetAt(slot);
    descriptor.space = placement.spaceAt(slot);
    descriptor.length = retained.lengthOf(sequence);
    descriptor.flags = this.checksum ? PAYLOAD_CRC : 0;
    descriptor.payloadCrc = retained.crcOf(sequence);
    descriptor.kind = phase === GIVEN_UP ? SKIP : DATA;
    descriptor.address = 0;
    descriptor.rkey = 0;
    if (retained.homeOf(sequence) === PAYLOAD && phase === READY) this.describePayload(sequence);
    const at = this.wordOf(slot);
    if (placement.modeAt(slot) === SLOT) {
      descriptor.flags |= INLINE;
      this.stageInline(at + WORDS, retained.offsetOf(sequence), descriptor.length);
    }
    encodeDescriptor(this.words, at, this.epoch, descriptor);
  }

  private describePayload(sequence: number): void {
    const { memory } = this.pullMemory.of(sequence);
    this.descriptor.kind = PULL;
    this.descriptor.address = memory.address;
    this.descriptor.rkey = memory.rkey;
  }

  // Copies a message from the retained memory, where it begins at a whole word, to the words from `to` on.
  private stageInline(to: number, from: number, length: number): void {
    const { words, retainedWords } = this;
    const count = inlineWords(length);
    const first = from / 4;
    for (let i = 0; i < count; i++) words[to + i] = retainedWords[first + i]!;
    const rest = (length & 3) * 8;
    // What follows it in the retained memory belongs to other messages.
    if (rest > 0) words[to + count - 1]! &= (1 << rest) - 1;
  }
}
