// The path of a message from the application to the lane: taken, collected while corked, written, or kept waiting for
// room.
//
// Invariant: messages leave in the order in which they were taken. Each message is written at once, unless it is
// collected; collected messages are written by the last uncork(), when there is no room for more, or when waiting gains
// nothing.
import { abortError } from '../core/deadline.js';
import type { RdmaError } from '../core/errors.js';
import { checkAbortSignal, checkInteger, checkObject } from '../core/validate.js';
import { notify } from './callback.js';
import type { Connection } from './connection.js';
import { MessageStager, type StagerHost } from './message-stager.js';
import { BATCH_BYTES } from './lane-writer.js';
import type { OutboxEnd } from './outbox-end.js';
import type { KeptOptions, OutboxSettings, SendOptions } from './outbox-options.js';
import type { OutboxLink } from './outbox-link.js';
import type { PullMemory } from './pull-memory.js';
import type { Clock } from './port.js';
import type { CompletionDriver } from './pump.js';
import type { RetainedMessages } from './retained-messages.js';
import type { OutboxCounters, Stall } from './status.js';
import { WaitList } from './wait-list.js';

/** What a send path is made of. */
export interface SendParts {
  counters: OutboxCounters;
  end: OutboxEnd;
  options: KeptOptions;
  settings: OutboxSettings;
  clock: Clock;
  pump: CompletionDriver;
  retained: RetainedMessages;
  pullMemory: PullMemory;
  link: OutboxLink;
}

export class SendPath implements StagerHost {
  readonly counters: OutboxCounters;
  readonly stager: MessageStager;
  private readonly end: OutboxEnd;
  private readonly options: KeptOptions;
  private readonly pump: CompletionDriver;
  private readonly retained: RetainedMessages;
  private readonly link: OutboxLink;
  private readonly room: WaitList;
  private stalledBy_: Stall | undefined;
  private corks = 0; // calls of cork() without their uncork()
  private collectedBytes = 0; // taken and not written since
  private collectedMs = 0; // when that began
  private serving = false; // a send waits for room: it came before close()

  constructor({ counters, end, options, settings, clock, pump, retained, pullMemory, link }: SendParts) {
    this.counters = counters;
    this.end = end;
    this.options = options;
    this.pump = pump;
    this.retained = retained;
    this.link = link;
    this.room = new WaitList(clock);
    this.stager = new MessageStager(this, settings, retained, pullMemory);
  }

  /** Calls that wait for room. */
  get waiting(): number {
    return this.room.length;
  }

  /** Why messages have to wait; undefined: they do not. */
  get stalledBy(): Stall | undefined {
    return this.stalledBy_;
  }

  // ---- Short messages

  /**
   * Takes a message of one part and writes it in one step, where the lane is stored into and nothing else is to be
   * done.
   *
   * @returns its sequence; 0 when it has to go the long way, by the MessageStager
   * @throws as {@link SendPath.checkTaking}
   */
  trySendShort(part: unknown): number {
    const { connection } = this.link;
    if (connection === undefined || connection.shortSender === undefined || this.corks > 0) return 0;
    // Both: what a prototype says is not believed.
    if (!(ArrayBuffer.isView(part) && part instanceof Uint8Array)) return 0;
    const { length } = part;
    if (length === 0 || length > this.stager.shortBytes) return 0;
    this.checkTaking();
    if (!connection.shortSender.show(part)) return 0;
    const { retained, counters } = this;
    retained.take(part, this.pump.nowMs());
    counters.messages++;
    counters.bytes += length;
    const { last } = retained;
    this.link.written(last);
    return last;
  }

  // ---- For the MessageStager

  get connection(): Connection | undefined {
    return this.link.connection;
  }

  get isEnded(): boolean {
    return this.end.isEnded;
  }

  checkOpen(): void {
    this.end.check();
  }

  checkTaking(): void {
    if (this.serving) this.end.check();
    else this.end.checkTaking();
  }

  /** Of messages that are collected, when that began: reading the clock takes as long as sending one of them. */
  nowMs(): number {
    return this.corks > 0 ? this.collectedMs : this.pump.nowMs();
  }

  taken(bytes: number): void {
    if (this.corks > 0) {
      this.collectedBytes += bytes;
      if (this.collectedBytes < BATCH_BYTES) return;
    }
    this.writeCollected();
  }

  stalled(cause: Stall): void {
    if (this.corks > 0) this.writeCollected();
    if (this.stalledBy_ === cause) return;
    this.stalledBy_ = cause;
    notify(this.options.onStall, { type: 'stalled', cause });
  }

  // ---- Collecting

  /** See {@link Outbox.cork}. */
  cork(): void {
    if (this.corks === 0) this.collectedMs = this.pump.nowMs();
    this.corks++;
  }

  /** See {@link Outbox.uncork}. */
  uncork(): void {
    if (this.corks === 0) return;
    this.corks--;
    if (this.corks === 0) this.writeCollected();
  }

  /** Writes what has been collected, however often uncork() is missing. */
  uncorkAll(): void {
    this.corks = 0;
    this.writeCollected();
  }

  private writeCollected(): void {
    this.collectedBytes = 0;
    if (this.corks > 0) this.collectedMs = this.pump.nowMs();
    this.link.transmit();
  }

  // ---- Waiting for room

  /** There may be room again. */
  roomMade(): void {
    this.room.wake();
    if (this.stalledBy_ === undefined || this.room.length > 0) return;
    this.stalledBy_ = undefined;
    notify(this.options.onStall, { type: 'flowing' });
  }

  /**
   * Attempts until it succeeds; those who came before are first.
   *
   * @param attempt answers the sequence of the message, or 0 when there is no room
   * @throws what the attempt throws; RdmaError RDMA_ERR_TIMEOUT, RDMA_ERR_ABORTED, RDMA_ERR_INVALID_ARGUMENT
   */
  async whenRoom(attempt: () => number, options: SendOptions): Promise<number> {
    checkObject('options', options);
    const signal = checkAbortSignal('signal', options.signal);
    if (options.timeoutMs !== undefined) checkInteger('timeoutMs', options.timeoutMs, 1, 2 ** 31 - 1);
    if (signal?.aborted) throw abortError(signal);
    this.end.checkTaking();
    if (this.room.length === 0) {
      const sequence = attempt();
      if (sequence > 0) return sequence;
    }
    this.counters.stalls++;
    return this.room.wait(() => this.serve(attempt), options.timeoutMs, signal, 'room in the lane');
  }

  private serve(attempt: () => number): number {
    this.serving = true;
    try {
      return attempt();
    } finally {
      this.serving = false;
    }
  }

  /** Nothing is sent any more. */
  fail(error: RdmaError): void {
    this.room.reject(error);
  }
}
