// How a benchmark's messages are sent: copied from the producer's memory, or built where they are sent from.
//
// Invariant: the sender writes every message again, so that no reader finds its bytes in the cache from the last time;
// from WRITE_TIMED_BYTES on, the time that this takes is measured, and is in no figure of latency.
import type { Outbox, Reservation } from '../../ring/index.js';
import { clockLookMs } from '../kit/look.js';
import { writeMessage } from '../kit/payload.js';
import type { Way } from './settings.js';

/** Below, writing takes less than the clock that would time it. */
export const WRITE_TIMED_BYTES = 1024;

export interface Sender {
  /** How long writing the last message took, with the two looks at the clock, in ms; 0 below WRITE_TIMED_BYTES. */
  readonly writeMs: number;
  /** Writes and sends the message of a round; false when there is no room now, to be tried again. */
  try(round: number): boolean;
}

class CopySender implements Sender {
  writeMs = 0;
  private readonly outbox: Outbox;
  private readonly source: Uint8Array;
  private readonly timed: boolean;
  private readonly lookMs = clockLookMs();
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
      this.writeMs = this.timed ? performance.now() - begin + this.lookMs : 0;
    }
    return this.outbox.trySend(this.source) !== 0;
  }
}

class InPlaceSender implements Sender {
  writeMs = 0;
  private reservation: Reservation | undefined; // used again and again
  private readonly outbox: Outbox;
  private readonly sizeBytes: number;
  private readonly timed: boolean;
  private readonly lookMs = clockLookMs();

  constructor(outbox: Outbox, sizeBytes: number) {
    this.outbox = outbox;
    this.sizeBytes = sizeBytes;
    this.timed = sizeBytes >= WRITE_TIMED_BYTES;
  }

  try(round: number): boolean {
    const reservation = this.outbox.tryReserve(this.sizeBytes, this.reservation);
    if (reservation === undefined) return false;
    this.reservation = reservation;
    const { data, offset, size } = reservation;
    const begin = this.timed ? performance.now() : 0;
    writeMessage(data, round, offset, offset + size);
    this.writeMs = this.timed ? performance.now() - begin + this.lookMs : 0;
    reservation.commit();
    return true;
  }
}

export function makeSender(outbox: Outbox, sizeBytes: number, way: Way): Sender {
  return way === 'copy' ? new CopySender(outbox, sizeBytes) : new InPlaceSender(outbox, sizeBytes);
}
