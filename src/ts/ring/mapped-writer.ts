// Writes to a lane that is mapped and polled, by stores alone.
//
// Invariant: the bytes of a message are stored before its descriptor is shown. Of a batch the first message is shown
// last: the inbox looks at its slot all the time, and each look takes that memory away from who stores there.
import { BATCH_BYTES, type LaneWriter } from './lane-writer.js';
import { DESCRIPTOR_WORDS, publishDescriptor } from './layout.js';
import { slotOf } from './places.js';
import type { Placement } from './placement.js';
import type { Retained } from './retained.js';
import type { StagedDescriptors } from './staged-descriptors.js';

/** Longer messages are copied as bytes, which makes a view of them. */
const MAX_WORDS_COPIED_BYTES = 1024;
const WORDS = DESCRIPTOR_WORDS;

export class MappedWriter implements LaneWriter {
  private readonly slots: Uint32Array;
  private readonly data: Uint8Array;
  private readonly dataWords: Int32Array;
  private readonly placement: Placement;
  private readonly staged: StagedDescriptors;
  private readonly retained: Retained;

  /**
   * @param slots the descriptor ring, where the inbox looks for descriptors
   * @param data the data ring
   */
  constructor(
    slots: ArrayBuffer,
    data: ArrayBuffer,
    placement: Placement,
    staged: StagedDescriptors,
    retained: Retained,
  ) {
    this.slots = new Uint32Array(slots);
    this.data = new Uint8Array(data);
    this.dataWords = new Int32Array(data);
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
      this.show(slot);
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
      this.show(slot);
      bytes += retained.lengthOf(sequence);
    }
    return sequence;
  }

  private prepare(sequence: number, slot: number): void {
    if (this.placement.goesToRing(slot)) this.bringToLane(sequence, slot);
    this.staged.describe(sequence, slot);
  }

  private show(slot: number): void {
    const { staged } = this;
    publishDescriptor(staged.words, staged.wordOf(slot), this.slots, slot * WORDS);
  }

  // Copies message `sequence` from the retained memory into the lane.
  private bringToLane(sequence: number, slot: number): void {
    const { retained, data } = this;
    const from = retained.offsetOf(sequence);
    const to = this.placement.offsetAt(slot);
    const length = retained.lengthOf(sequence);
    if (length > MAX_WORDS_COPIED_BYTES) {
      data.set(retained.data.subarray(from, from + length), to);
      return;
    }
    // A view of the bytes would be an object. Both begin at whole words.
    const { dataWords } = this;
    const retainedWords = retained.words;
    const words = length >> 2;
    const fromWord = from / 4;
    const toWord = to / 4;
    for (let i = 0; i < words; i++) dataWords[toWord + i] = retainedWords[fromWord + i]!;
    for (let i = words << 2; i < length; i++) data[to + i] = retained.data[from + i]!;
  }

  /** Nothing was posted. */
  sendCompleted(): void {}
}
