// A place for one message, which its author fills before it is sent.
//
// Invariant: exactly one of commit() and abort() ends it; until then nothing that was taken later is sent, as messages
// keep their order. After it `bytes` is empty: the memory belongs to the message.
import { RdmaError } from '../core/errors.js';
import { checkInteger } from '../core/validate.js';

const NOTHING = new Uint8Array(0);

/** Ends a reservation: `length` bytes of it are the message; -1: it is given up. @internal */
export type EndReservation = (sequence: number, bytes: Uint8Array, length: number) => void;

/** Made by {@link Outbox.reserve} and {@link Outbox.tryReserve}. With `using`, one that was not committed is aborted. */
export class Reservation implements Disposable {
  /** The sequence of the message. */
  readonly sequence: number;
  private view: Uint8Array;
  private readonly end: EndReservation;
  private ended = false;

  /** @internal */
  constructor(sequence: number, view: Uint8Array, end: EndReservation) {
    this.sequence = sequence;
    this.view = view;
    this.end = end;
  }

  /**
   * Where the message is to be built; what is in it at first is not defined. On soft devices this is the inbox's own
   * memory: the message is read where it was written. Empty after commit(), abort() and the closing of the outbox.
   */
  get bytes(): Uint8Array {
    return this.view;
  }

  /**
   * Sends the first `length` bytes, by default all.
   *
   * @param length 0 to bytes.length
   * @returns the sequence of the message
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_CLOSED when it has ended already, or the outbox is closed
   */
  commit(length = this.view.length): number {
    this.check();
    checkInteger('length', length, 0, this.view.length);
    this.finish(length);
    return this.sequence;
  }

  /** Gives the place up. Its sequence is used up, and never delivered. A second time, and after commit(), it does nothing. */
  abort(): void {
    if (!this.ended) this.finish(-1);
  }

  /** As {@link Reservation.abort}. */
  [Symbol.dispose](): void {
    this.abort();
  }

  private check(): void {
    if (this.ended) throw new RdmaError('RDMA_ERR_CLOSED', `reservation ${this.sequence} has ended already`);
  }

  private finish(length: number): void {
    const bytes = this.view;
    this.ended = true;
    this.view = NOTHING;
    this.end(this.sequence, bytes, length);
  }
}
