// Space for one message, which its author fills before it is sent.
//
// Invariant: exactly one of commit() and abort() ends a reservation; until then later messages wait, as messages keep
// their order. Afterwards it has no bytes: the memory belongs to the message.
import { RdmaError } from '../core/errors.js';
import { checkInteger } from '../core/validate.js';
import type { Connection } from './connection.js';

const NOTHING = new Uint8Array(0);

/** Who gave a reservation. @internal */
export interface ReservationHost {
  /** `length` bytes of the reservation are the message; -1: it is given up. Its memory is still known here. */
  endReservation(reservation: Reservation, length: number): void;
}

/**
 * Made by {@link Outbox.reserve} and {@link Outbox.tryReserve}. With `using`, one that was not committed is aborted.
 * One that has ended can be given to tryReserve() again.
 */
export class Reservation implements Disposable {
  /** The sequence of the message. */
  sequence = 0;
  /**
   * The memory in which the message is to be built, from `offset` on, `size` bytes. For loops: {@link
   * Reservation.bytes} is a view of just that, and an object. Other messages lie in the rest of it, which must not be
   * touched.
   */
  data: Uint8Array = NOTHING;
  /** Where the message begins in `data`. */
  offset = 0;
  /** Bytes that the message may take. */
  size = 0;
  /** @internal A value of Home: where the memory is. */
  home = 0;
  /** @internal The connection in whose lane it is. */
  connection: Connection | undefined;
  private readonly host: ReservationHost;
  private view: Uint8Array | undefined;
  private ended = true;

  /** @internal */
  constructor(host: ReservationHost) {
    this.host = host;
  }

  /** @internal True when it may be given to tryReserve() of this host. */
  isReusable(host: ReservationHost): boolean {
    return this.ended && this.host === host;
  }

  /** @internal */
  begin(
    sequence: number,
    home: number,
    connection: Connection | undefined,
    data: Uint8Array,
    offset: number,
    size: number,
  ): void {
    this.sequence = sequence;
    this.home = home;
    this.connection = connection;
    this.data = data;
    this.offset = offset;
    this.size = size;
    this.view = undefined;
    this.ended = false;
  }

  /**
   * Where the message is to be built; what is in it at first is not defined. On soft devices this is the inbox's own
   * memory: the message is read where it was written. Empty after commit(), abort() and the closing of the outbox.
   */
  get bytes(): Uint8Array {
    const { data, offset } = this;
    // Of an outbox that was closed there is no memory.
    if (this.view === undefined) this.view = data.length === 0 ? NOTHING : data.subarray(offset, offset + this.size);
    return this.view;
  }

  /**
   * Sends the first `length` bytes, by default all.
   *
   * @param length 0 to `size`
   * @returns the sequence of the message
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_CLOSED when it has ended already, or the outbox is closed
   */
  commit(length = this.size): number {
    if (this.ended) throw new RdmaError('RDMA_ERR_CLOSED', `reservation ${this.sequence} has ended already`);
    checkInteger('length', length, 0, this.size);
    const { sequence } = this;
    this.finish(length);
    return sequence;
  }

  /**
   * Gives the reservation up. Its sequence is used up, and never delivered. A second time, and after commit(), it does
   * nothing.
   */
  abort(): void {
    if (!this.ended) this.finish(-1);
  }

  /** As {@link Reservation.abort}. */
  [Symbol.dispose](): void {
    this.abort();
  }

  private finish(length: number): void {
    this.ended = true;
    try {
      this.host.endReservation(this, length);
    } finally {
      // Unless a callback has begun it again.
      if (this.ended) {
        this.data = NOTHING;
        this.view = NOTHING;
        this.offset = 0;
        this.size = 0;
        this.connection = undefined;
      }
    }
  }
}
