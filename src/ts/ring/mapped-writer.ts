// The writer of a lane that is mapped and polled: it uses stores alone.
//
// Invariant: the bytes of a message are stored before its descriptor, and the sequence of the descriptor last. A short
// message lies behind its descriptor. In a batch the first message is published last: the inbox polls that slot all the
// time, and each poll takes the cache line away from the writer.
import { BATCH_BYTES, type LaneWriter } from './lane-writer.js';
import { publishDescriptor, publishShort } from './layout.js';
import { slotOf } from './positions.js';
import { type Placement, WriteMode } from './placement.js';
import { Phase, type RetainedMessages } from './retained-messages.js';
import type { StagedDescriptors } from './staged-descriptors.js';

/** Longer messages are copied as bytes, which makes a view of them. */
const MAX_WORDS_COPIED_BYTES = 1024;
// As constants of this file: what another file exports is looked up at each use.
const { READY } = Phase;
const { RING, SLOT, IN_SLOT } = WriteMode;

export class MappedWriter implements LaneWriter {
  private readonly words: Uint32Array;
  private readonly data: Uint8Array;
  private readonly slotWords: number;
  private readonly epoch: number;
  private readonly placement: Placement;
  private readonly staged: StagedDescriptors;
  private readonly retained: RetainedMessages;

  /** @param lane all of it: the slots, where the inbox looks for descriptors, and the data ring */
  constructor(
    lane: ArrayBuffer,
    epoch: number,
    placement: Placement,
    staged: StagedDescriptors,
    retained: RetainedMessages,
  ) {
    this.words = new Uint32Array(lane, 0, lane.byteLength >> 2);
    this.data = new Uint8Array(lane);
    this.slotWords = placement.slotBytes / 4;
    this.epoch = epoch;
    this.placement = placement;
    this.staged = staged;
    this.retained = retained;
  }

  transmit(): void {
    const { placement, retained } = this;
    placement.stall = undefined;
    while (placement.sent < retained.last) {
      const first = placement.sent + 1;
      if (!placement.isReady(first)) return;
      const slot = slotOf(first, placement.slots);
      this.prepare(first, slot);
      const last = first === retained.last ? first : this.showRest(first);
      this.show(first, slot);
      placement.sent = last;
    }
  }

  // Shows what follows `first` in its batch; answers the last message of that.
  private showRest(first: number): number {
    const { placement, retained } = this;
    let sequence = first;
    let bytes = retained.lengthOf(first);
    while (sequence < retained.last && bytes < BATCH_BYTES && placement.isReady(sequence + 1)) {
      sequence++;
      const slot = slotOf(sequence, placement.slots);
      this.prepare(sequence, slot);
      this.show(sequence, slot);
      bytes += retained.lengthOf(sequence);
    }
    return sequence;
  }

  private prepare(sequence: number, slot: number): void {
    const mode = this.placement.modeAt(slot);
    if (mode === RING || mode === SLOT) this.bringToLane(sequence, slot);
    if (!this.isShort(sequence, slot)) this.staged.describe(sequence, slot);
  }

  private isShort(sequence: number, slot: number): boolean {
    const mode = this.placement.modeAt(slot);
    if (mode !== SLOT && mode !== IN_SLOT) return false;
    // A reservation in a slot may have been given up, or nothing was put there.
    return this.retained.phaseOf(sequence) === READY && this.retained.lengthOf(sequence) > 0;
  }

  private show(sequence: number, slot: number): void {
    const { staged, words } = this;
    const at = slot * this.slotWords;
    if (this.isShort(sequence, slot)) {
      publishShort(words, at, this.epoch, sequence, this.retained.lengthOf(sequence));
      return;
    }
    publishDescriptor(staged.words, staged.wordOf(slot), words, at);
  }

  // Copies message `sequence` from the retained memory into the lane.
  private bringToLane(sequence: number, slot: number): void {
    const { retained, data } = this;
    const from = retained.offsetOf(sequence);
    const to = this.placement.beginOf(slot);
    const length = retained.lengthOf(sequence);
    if (length > MAX_WORDS_COPIED_BYTES) {
      data.set(retained.data.subarray(from, from + length), to);
      return;
    }
    // A view of the bytes would be an object. Both begin at whole words.
    const laneWords = this.words;
    const retainedWords = retained.words;
    const words = length >> 2;
    const fromWord = from / 4;
    const toWord = to / 4;
    for (let i = 0; i < words; i++) laneWords[toWord + i] = retainedWords[fromWord + i]!;
    for (let i = words << 2; i < length; i++) data[to + i] = retained.data[from + i]!;
  }

  /** Nothing was posted. */
  sendCompleted(): void {}
}
