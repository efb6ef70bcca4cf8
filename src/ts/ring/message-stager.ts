// The stage in which an outbox takes messages: copied, built in place, or left to be pulled.
//
// Invariant: a taken message has its sequence and its slot in retained memory, whatever happens to the lane; its bytes
// are complete where the device or the inbox reads them before its descriptor can be written.
import type { RdmaError } from '../core/errors.js';
import { checkBytes, checkInteger, invalidArgument } from '../core/validate.js';
import { crc32cOf } from '../verbs/index.js';
import type { Connection } from './connection.js';
import type { OutboxSettings, Part } from './outbox-options.js';
import type { Payload, PullMemory } from './pull-memory.js';
import { Reservation, type ReservationHost } from './reservation.js';
import { Home, type RetainedMessages } from './retained-messages.js';
import { sizeRemedy, tooLarge } from './size-limits.js';
import type { OutboxCounters, Stall } from './status.js';

// As constants of this file: what another file exports is looked up at each use.
const { RETAINED, LANE, PAYLOAD } = Home;

/** What a stager needs of its outbox. */
export interface StagerHost {
  readonly counters: OutboxCounters;
  /** The lane that there is now. */
  readonly connection: Connection | undefined;
  readonly isEnded: boolean;
  /** The time, for the age of a message. */
  nowMs(): number;
  /** @throws RdmaError with which the outbox has ended */
  checkOpen(): void;
  /** @throws RdmaError when nothing new is taken */
  checkTaking(): void;
  /** A message of `bytes` bytes can be written, or a position skipped. */
  taken(bytes: number): void;
  /** A message has to wait. */
  stalled(cause: Stall): void;
}

export class MessageStager implements ReservationHost {
  private readonly host: StagerHost;
  private readonly settings: OutboxSettings;
  private readonly retained: RetainedMessages;
  private readonly pullMemory: PullMemory;
  private granted: number; // bytes of the lane, as the inbox granted them last
  private maxPullBytes = 0; // the largest message that the inbox pulls
  private pullLimit = 0; // the largest message that is pulled
  /** The longest message that may be sent by a {@link ShortSender}; 0: none may. */
  shortBytes = 0;

  constructor(host: StagerHost, settings: OutboxSettings, retained: RetainedMessages, pullMemory: PullMemory) {
    this.host = host;
    this.settings = settings;
    this.retained = retained;
    this.pullMemory = pullMemory;
    this.granted = settings.dataBytes;
  }

  /** There is a lane, of this size. */
  connected({ lane, shortBytes }: Connection): void {
    this.granted = lane.dataBytes;
    this.maxPullBytes = lane.maxPullBytes;
    this.pullLimit = Math.min(lane.maxPullBytes, this.settings.pullBytes);
    const { pullAboveBytes } = this.settings;
    const unpulledBytes = this.pullLimit > pullAboveBytes ? pullAboveBytes : shortBytes;
    this.shortBytes = Math.min(shortBytes, unpulledBytes, this.maxLaneMessageBytes);
  }

  /** See {@link Outbox.maxLaneMessageBytes}. */
  get maxLaneMessageBytes(): number {
    return Math.min(this.granted, this.retained.bytes);
  }

  /** See {@link Outbox.maxMessageBytes}. */
  get maxMessageBytes(): number {
    return Math.max(this.maxLaneMessageBytes, this.pullLimit);
  }

  /**
   * See {@link Outbox.trySend}: the first `count` of `parts`, which become the bytes that they show. Makes no object of
   * a Uint8Array.
   */
  trySend(parts: Part[], count: number): number {
    const { retained, host } = this;
    host.checkTaking();
    let length = 0;
    for (let i = 0; i < count; i++) {
      const bytes = checkBytes('part', parts[i]);
      parts[i] = bytes;
      length += bytes.length;
    }
    if (this.isPulled(length)) return this.takePulled(length, parts, count);
    if (!retained.fits(length)) return this.noRoom();
    // Straight into the lane where it is mapped: visible after one copy. The second one, for custody, comes after it.
    const { connection } = host;
    const direct = connection !== undefined && !this.settings.checksum && connection.takesInLane(length);
    const sequence = retained.begin(length, RETAINED, this.host.nowMs());
    if (direct) {
      this.copyTo(connection.data!, connection.putInLane(sequence, length), parts, count);
      this.take(sequence, length, 0);
      this.keep(sequence, parts, count);
    } else {
      this.keep(sequence, parts, count);
      this.take(
        sequence,
        length,
        this.settings.checksum ? crc32cOf(retained.data, retained.offsetOf(sequence), length) : 0,
      );
    }
    return sequence;
  }

  private copyTo(lane: Uint8Array, offset: number, parts: readonly Part[], count: number): void {
    let at = offset;
    for (let i = 0; i < count; i++) {
      const part = parts[i] as Uint8Array;
      lane.set(part, at);
      at += part.length;
    }
  }

  private keep(sequence: number, parts: readonly Part[], count: number): void {
    let at = 0;
    for (let i = 0; i < count; i++) {
      const part = parts[i] as Uint8Array;
      this.retained.fill(sequence, at, part);
      at += part.length;
    }
  }

  // Message `sequence` is complete.
  private take(sequence: number, length: number, crc: number): void {
    const { counters } = this.host;
    this.retained.ready(sequence, length, crc);
    this.host.taken(length);
    counters.messages++;
    counters.bytes += length;
  }

  private isPulled(length: number): boolean {
    if (length > this.maxMessageBytes) throw this.tooLarge(length);
    if (length > this.maxLaneMessageBytes) return true;
    return length > this.settings.pullAboveBytes && length <= this.pullLimit;
  }

  private takePulled(length: number, parts: readonly Part[], count: number): number {
    const payload = this.retained.fits(0) ? this.pullMemory.allocate(length) : undefined;
    if (payload === undefined) return this.noRoom();
    let at = 0;
    for (let i = 0; i < count; i++) {
      const bytes = parts[i] as Uint8Array;
      payload.bytes.set(bytes, at);
      at += bytes.length;
    }
    const sequence = this.beginPulled(payload);
    this.take(sequence, length, this.settings.checksum ? crc32cOf(payload.bytes, 0, length) : 0);
    return sequence;
  }

  private beginPulled(payload: Payload): number {
    const sequence = this.retained.begin(0, PAYLOAD, this.host.nowMs());
    this.pullMemory.attach(sequence, payload);
    this.host.counters.pulled++;
    return sequence;
  }

  /** See {@link Outbox.tryReserve}. Makes no object when one is given, unless the message is to be pulled. */
  tryReserve(bytes: number, reuse: Reservation | undefined): Reservation | undefined {
    this.host.checkTaking();
    checkInteger('bytes', bytes, 0);
    if (reuse !== undefined && !(reuse instanceof Reservation && reuse.isReusable(this))) {
      throw invalidArgument('reuse', reuse, 'a reservation of this outbox that has ended');
    }
    const { retained } = this;
    const { connection } = this.host;
    const nowMs = this.host.nowMs();
    if (this.isPulled(bytes)) {
      const payload = retained.fits(0) ? this.pullMemory.allocate(bytes) : undefined;
      if (payload === undefined) return void this.noRoom();
      const reservation = reuse ?? new Reservation(this);
      reservation.begin(this.beginPulled(payload), PAYLOAD, undefined, payload.bytes, 0, bytes);
      return reservation;
    }
    if (!retained.fits(bytes)) return void this.noRoom();
    if (connection === undefined || !connection.isMapped) {
      const sequence = retained.begin(bytes, RETAINED, nowMs);
      const reservation = reuse ?? new Reservation(this);
      reservation.begin(sequence, RETAINED, undefined, retained.data, retained.offsetOf(sequence), bytes);
      return reservation;
    }
    if (!connection.takesInLane(bytes)) return void this.noRoom();
    const sequence = retained.begin(bytes, LANE, nowMs);
    const offset = connection.putInLane(sequence, bytes);
    connection.reservationOpened();
    const reservation = reuse ?? new Reservation(this);
    reservation.begin(sequence, LANE, connection, connection.data!, offset, bytes);
    return reservation;
  }

  /** @internal */
  endReservation(reservation: Reservation, length: number): void {
    const { sequence, home, connection } = reservation;
    if (home === PAYLOAD && length < 0) this.pullMemory.release(sequence);
    if (connection === undefined) {
      this.end(reservation, length);
      return;
    }
    try {
      // Its lane is gone: it is sent from here as any other.
      if (!connection.isClosed) this.host.counters.inPlace += length < 0 ? 0 : 1;
      else if (!this.host.isEnded) this.retained.bring(sequence, reservation.bytes.subarray(0, Math.max(0, length)));
      this.end(reservation, length);
    } finally {
      connection.reservationEnded(); // may take the memory away
    }
  }

  private end({ sequence, data, offset }: Reservation, length: number): void {
    const { host } = this;
    if (length >= 0) {
      host.checkOpen();
      this.take(sequence, length, this.settings.checksum ? crc32cOf(data, offset, length) : 0);
    } else if (!host.isEnded) {
      this.retained.giveUp(sequence);
      host.counters.aborted++;
      host.taken(0);
    }
  }

  private tooLarge(length: number): RdmaError {
    const { granted: grantedBytes, maxPullBytes, settings, maxMessageBytes } = this;
    const { dataBytes, pullBytes } = settings;
    const limits = { dataBytes, retainBytes: this.retained.bytes, grantedBytes, pullBytes, maxPullBytes };
    return tooLarge(length, maxMessageBytes, sizeRemedy(length, limits));
  }

  private noRoom(): 0 {
    const { retained } = this;
    const { connection } = this.host;
    const own: Stall = retained.count >= retained.capacity ? 'retained-messages' : 'retained-bytes';
    this.host.stalled(connection === undefined ? 'disconnected' : (connection.stall ?? own));
    return 0;
  }
}
