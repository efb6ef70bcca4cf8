// How an outbox takes messages: copied, built in place, or left to be pulled.
//
// Invariant: what was taken has its sequence and its place in the retained memory, whatever becomes of the lane; the bytes of
// a message are complete where the device or the inbox reads them before its descriptor can be written.
import { RdmaError } from '../core/errors.js';
import { checkBytes, checkInteger } from '../core/validate.js';
import { crc32cOf } from '../verbs/index.js';
import type { Connection } from './connection.js';
import type { OutboxSettings, Part } from './outbox-options.js';
import type { Payload, Payloads } from './payloads.js';
import type { Pump } from './pump.js';
import { Reservation } from './reservation.js';
import { Home, type Retained } from './retained.js';
import type { OutboxCounters, Stall } from './status.js';

/** What an intake needs of its outbox. */
export interface IntakeHost {
  readonly counters: OutboxCounters;
  /** The lane that there is now. */
  readonly connection: Connection | undefined;
  readonly isEnded: boolean;
  /** @throws RdmaError with which the outbox has ended */
  checkOpen(): void;
  /** A message of `bytes` bytes can be written, or a place skipped. */
  taken(bytes: number): void;
  /** A message has to wait. */
  stalled(cause: Stall): void;
}

export class Intake {
  private readonly host: IntakeHost;
  private readonly settings: OutboxSettings;
  private readonly retained: Retained;
  private readonly payloads: Payloads;
  private readonly pump: Pump;
  private granted: number; // bytes of the lane, as the inbox granted them last
  private pullLimit = 0; // the largest message that is pulled

  constructor(host: IntakeHost, settings: OutboxSettings, retained: Retained, payloads: Payloads, pump: Pump) {
    this.host = host;
    this.settings = settings;
    this.retained = retained;
    this.payloads = payloads;
    this.pump = pump;
    this.granted = settings.dataBytes;
  }

  /** There is a lane, of this size. */
  connected({ lane }: Connection): void {
    this.granted = lane.dataBytes;
    this.pullLimit = Math.min(lane.maxPullBytes, this.settings.pullBytes);
  }

  /** See {@link Outbox.maxLaneMessageBytes}. */
  get maxLaneMessageBytes(): number {
    return Math.min(this.granted, this.retained.bytes);
  }

  /** See {@link Outbox.maxMessageBytes}. */
  get maxMessageBytes(): number {
    return Math.max(this.maxLaneMessageBytes, this.pullLimit);
  }

  /** See {@link Outbox.trySend}: the first `count` parts. Makes no object. */
  trySend(parts: readonly Part[], count: number): number {
    const { retained, host } = this;
    host.checkOpen();
    let length = 0;
    for (let i = 0; i < count; i++) length += checkBytes('part', parts[i]).byteLength;
    if (this.isPulled(length)) return this.takePulled(length, parts, count);
    if (!retained.fits(length)) return this.noRoom();
    // Straight into the lane where it is mapped: visible after one copy. The second one, for custody, comes after it.
    const { connection } = host;
    const direct = connection !== undefined && !this.settings.checksum && connection.takesInLane(length);
    const sequence = retained.begin(length, Home.RETAINED, this.pump.nowMs());
    if (direct) {
      connection.placeInLane(sequence, length);
      this.copyToLane(connection, sequence, parts, count);
      this.take(sequence, length, 0);
      this.keep(sequence, parts, count);
    } else {
      this.keep(sequence, parts, count);
      this.take(sequence, length, this.settings.checksum ? crc32cOf(retained.placeOf(sequence), 0, length) : 0);
    }
    return sequence;
  }

  private copyToLane(connection: Connection, sequence: number, parts: readonly Part[], count: number): void {
    let at = 0;
    for (let i = 0; i < count; i++) {
      const part = checkBytes('part', parts[i]); // as bytes, whatever view it is
      connection.fillInLane(sequence, at, part);
      at += part.byteLength;
    }
  }

  private keep(sequence: number, parts: readonly Part[], count: number): void {
    let at = 0;
    for (let i = 0; i < count; i++) {
      const part = checkBytes('part', parts[i]);
      this.retained.fill(sequence, at, part);
      at += part.byteLength;
    }
  }

  // Message `sequence` is complete.
  private take(sequence: number, length: number, crc: number): void {
    const { counters } = this.host;
    this.retained.ready(sequence, length, crc);
    counters.messages++;
    counters.bytes += length;
    this.host.taken(length);
  }

  private isPulled(length: number): boolean {
    if (length > this.maxMessageBytes) throw this.tooLarge(length, this.maxMessageBytes);
    if (length > this.maxLaneMessageBytes) return true;
    return length > this.settings.pullAboveBytes && length <= this.pullLimit;
  }

  private takePulled(length: number, parts: readonly Part[], count: number): number {
    const payload = this.retained.fits(0) ? this.payloads.allocate(length) : undefined;
    if (payload === undefined) return this.noRoom();
    let at = 0;
    for (let i = 0; i < count; i++) {
      const bytes = checkBytes('part', parts[i]);
      payload.bytes.set(bytes, at);
      at += bytes.byteLength;
    }
    const sequence = this.beginPulled(payload);
    this.take(sequence, length, this.settings.checksum ? crc32cOf(payload.bytes, 0, length) : 0);
    return sequence;
  }

  private beginPulled(payload: Payload): number {
    const sequence = this.retained.begin(0, Home.PAYLOAD, this.pump.nowMs());
    this.payloads.attach(sequence, payload);
    this.host.counters.pulled++;
    return sequence;
  }

  /** See {@link Outbox.tryReserve}. */
  tryReserve(bytes: number): Reservation | undefined {
    this.host.checkOpen();
    checkInteger('bytes', bytes, 0);
    const { retained } = this;
    const { connection } = this.host;
    if (this.isPulled(bytes)) {
      const payload = retained.fits(0) ? this.payloads.allocate(bytes) : undefined;
      if (payload === undefined) return void this.noRoom();
      return new Reservation(this.beginPulled(payload), payload.bytes.subarray(0, bytes), this.endPulled);
    }
    if (!retained.fits(bytes)) return void this.noRoom();
    if (connection?.isMapped !== true) {
      const sequence = retained.begin(bytes, Home.RETAINED, this.pump.nowMs());
      return new Reservation(sequence, retained.placeOf(sequence), this.endReservation);
    }
    if (!connection.takesInLane(bytes)) return void this.noRoom();
    const sequence = retained.begin(bytes, Home.LANE, this.pump.nowMs());
    connection.placeInLane(sequence, bytes);
    connection.reservationOpened();
    const place = connection.placeOf(sequence);
    return new Reservation(sequence, place, (_, built, length) => this.endInLane(connection, sequence, built, length));
  }

  private readonly endReservation = (sequence: number, built: Uint8Array, length: number): void => {
    const { host } = this;
    if (length >= 0) {
      host.checkOpen();
      this.take(sequence, length, this.settings.checksum ? crc32cOf(built, 0, length) : 0);
    } else if (!host.isEnded) {
      this.retained.giveUp(sequence);
      host.counters.aborted++;
      host.taken(0);
    }
  };

  private readonly endPulled = (sequence: number, built: Uint8Array, length: number): void => {
    if (length < 0) this.payloads.release(sequence);
    this.endReservation(sequence, built, length);
  };

  private endInLane(connection: Connection, sequence: number, built: Uint8Array, length: number): void {
    try {
      // Its lane is gone: it is sent from here as any other.
      if (!connection.isClosed) this.host.counters.inPlace += length < 0 ? 0 : 1;
      else if (!this.host.isEnded) this.retained.bring(sequence, built.subarray(0, Math.max(0, length)));
      this.endReservation(sequence, built, length);
    } finally {
      connection.reservationEnded(); // may take `built` away
    }
  }

  private noRoom(): 0 {
    const { retained } = this;
    const { connection } = this.host;
    const own: Stall = retained.count >= retained.capacity ? 'retained-messages' : 'retained-bytes';
    this.host.stalled(connection === undefined ? 'disconnected' : (connection.stall ?? own));
    return 0;
  }

  /** The error for a message that nobody could take. */
  tooLarge(length: number, room: number): RdmaError {
    const words = `a message of ${length} bytes does not fit: at most ${room} bytes can be sent`;
    return new RdmaError('RDMA_ERR_MESSAGE_TOO_LARGE', words, {
      remedy:
        'raise dataBytes and retainBytes of the outbox and maxDataBytes of the inbox, or let the inbox pull (maxPullBytes)',
    });
  }
}
