// How a benchmark's messages come into the lane: copied from the producer's memory, or built in the lane itself.
//
// Invariant: every message is written anew by its sender, so that no reader finds its bytes in the cache from the last
// time; the time of that is known, and from WRITE_TIMED_BYTES on in no figure of latency.
import { RdmaError } from '../../core/errors.js';
import type { Outbox } from '../../ring/index.js';
import { writeMessage } from '../payload.js';

/** Below, writing takes less than the clock that would time it. */
export const WRITE_TIMED_BYTES = 1024;

export interface Sender {
  /** How long writing the last message took, in ms; 0 below WRITE_TIMED_BYTES. */
  readonly writeMs: number;
  /** Writes and sends the message of a round; false when there is no room now, to be tried again. */
  try(round: number): boolean;
}

class CopySender implements Sender {
  writeMs = 0;
  private readonly outbox: Outbox;
  private readonly source: Uint8Array;
  private readonly timed: boolean;
  private written = -1;

  constructor(outbox: Outbox, sizeBytes: number) {
    this.outbox = outbox;
    this.source = new Uint8Array(sizeBytes);
    this.timed = sizeBytes >= WRITE_TIMED_BYTES;
  }

  try(round: number): boolean {
    if (this.written !== round) {
      this.written = round;
      const begin = this.timed ? performance.now() : 0;
      writeMessage(this.source, round);
      this.writeMs = this.timed ? performance.now() - begin : 0;
    }
    return this.outbox.trySend(this.source) !== 0;
  }
}

/** Space in a lane for a message that is being built. */
interface Reservation {
  bytes: Uint8Array;
  commit(length?: number): number;
  abort(): void;
}

class InPlaceSender implements Sender {
  writeMs = 0;
  private readonly tryReserve: (bytes: number) => Reservation | undefined;
  private readonly sizeBytes: number;
  private readonly timed: boolean;

  constructor(outbox: Outbox, sizeBytes: number) {
    const { tryReserve } = outbox as unknown as { tryReserve?: (bytes: number) => Reservation | undefined };
    if (tryReserve === undefined) {
      throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', 'this version of the outbox cannot build messages in place');
    }
    this.tryReserve = tryReserve.bind(outbox);
    this.sizeBytes = sizeBytes;
    this.timed = sizeBytes >= WRITE_TIMED_BYTES;
  }

  try(round: number): boolean {
    const reservation = this.tryReserve(this.sizeBytes);
    if (reservation === undefined) return false;
    const begin = this.timed ? performance.now() : 0;
    writeMessage(reservation.bytes, round);
    this.writeMs = this.timed ? performance.now() - begin : 0;
    reservation.commit();
    return true;
  }
}

/** @throws RdmaError RDMA_ERR_NOT_SUPPORTED */
export function makeSender(outbox: Outbox, sizeBytes: number, inPlace: boolean): Sender {
  return inPlace ? new InPlaceSender(outbox, sizeBytes) : new CopySender(outbox, sizeBytes);
}
