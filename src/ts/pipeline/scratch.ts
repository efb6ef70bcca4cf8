// The buffer in which a place writes a message before it is sent.
//
// Invariant: the message is copied before the next one is written.
export class Scratch {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  private last: Uint8Array; // messages of a workflow are of a few lengths

  constructor(length: number) {
    this.bytes = new Uint8Array(length);
    this.view = new DataView(this.bytes.buffer);
    this.last = this.bytes;
  }

  /** The first bytes, as many as the message has. */
  first(length: number): Uint8Array {
    if (this.last.length !== length) this.last = this.bytes.subarray(0, length);
    return this.last;
  }
}
