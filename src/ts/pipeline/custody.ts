// The blocks that a place still holds for messages that it has sent.
//
// Invariant: the blocks of a message stay unchanged until every receiver has acknowledged it, or its request has ended
// and the link to the receiver was closed. Then they are given back, once, and the owner's callback runs. For a stream,
// every receiver must have acknowledged every piece.

/** Memory in which an output lies: a block of a pool, or what somebody else keeps for it. */
export interface Held {
  /** One more reference. */
  retain(): void;
  /** One reference less; without any it is given back. */
  release(): void;
}

const NOBODY = () => {};

/** One output, all pieces of a stream, or one request, on its ways to all its receivers. */
export class Custody {
  private outstanding = 0;
  private complete = false;
  private blocks: readonly Held[];
  private onSettled: () => void;

  /**
   * @param blocks the memory in which the output lies; one reference to each goes over to this
   * @param onSettled called once, when every receiver has acknowledged
   */
  constructor(blocks: readonly Held[], onSettled: () => void) {
    this.blocks = blocks;
    this.onSettled = onSettled;
  }

  /** More memory in which the output lies; one reference to each goes over to this. */
  keep(blocks: readonly Held[]): void {
    if (blocks.length > 0) this.blocks = this.blocks.length === 0 ? blocks : [...this.blocks, ...blocks];
  }

  /** One more message to a receiver. */
  sent(): void {
    this.outstanding++;
  }

  /** Every message is known. */
  allSent(): void {
    this.complete = true;
    this.settleIfDone();
  }

  /**
   * The other receivers cannot get it. The memory is kept for those that have got it already, until they acknowledge;
   * the owner's callback does not run.
   */
  fail(): void {
    this.onSettled = NOBODY;
    this.allSent();
  }

  /** A receiver has acknowledged, or will never be asked again. */
  acknowledged(): void {
    this.outstanding--;
    this.settleIfDone();
  }

  private settleIfDone(): void {
    if (!this.complete || this.outstanding > 0) return;
    this.complete = false;
    for (const block of this.blocks) block.release();
    this.onSettled();
  }
}
