// A producer of the shared ring, with or without a time-out of the lock.
//
// Invariant: only the producer that holds the lock, as far as it can know, writes the head and the size ring; a message
// counts as sent when its bytes, its descriptor, the new head and the release of the lock have completed.
import type { RingPort } from '../../../src/ts/ring/port.js';
import type { Choices } from '../../../src/ts/sim/choices.js';
import { crc32cOf } from '../../../src/ts/verbs/index.js';
import type { Books } from './books.js';
import { ENTRY_AT, LAST, MESSAGE_AT, Requester, RESULT_AT } from './requester.js';
import {
  DATA_AT,
  DATA_BYTES,
  HEAD_AT,
  HEADER_BYTES,
  highOf,
  LOCK_AT,
  lowOf,
  pack,
  place,
  SLOT_BYTES,
  SLOTS,
  TAIL_AT,
  writeEntry,
} from './shared-ring.js';
import { bytesOf, MESSAGES, type Workload } from './workload.js';

/** How long the lock of an owner that does not move is respected, in virtual ms; several times what a send takes. */
export const LEASE_MS = 20;
const FIRST_BACKOFF_MS = 0.1;
const LAST_BACKOFF_MS = 5;
const RECONNECT_MS = 1;

export interface RingProducerOptions {
  port: RingPort;
  choices: Choices;
  books: Books;
  workload: Workload;
  index: number;
  to: () => { host: string; port: number };
  /** undefined: whoever holds the lock holds it for ever. */
  leaseMs: number | undefined;
}

type Attempt = 'sent' | 'full' | 'lock-lost';

export class SharedRingProducer {
  private readonly options: RingProducerOptions;
  private readonly requester: Requester;
  private readonly owner: number;
  private acquisitions = 0;
  private mine = 0n; // the lock word of this acquisition
  private ownedSinceMs = 0;

  constructor(options: RingProducerOptions) {
    this.options = options;
    this.requester = new Requester(options.port);
    this.owner = options.index + 1;
  }

  /** Sends all messages of the workload, over as many connections as it takes. */
  async run(): Promise<void> {
    const { books, workload, index } = this.options;
    await this.connect();
    for (let sequence = 1; sequence <= MESSAGES; sequence++) {
      await this.pause(workload.gaps[index]![sequence - 1]!);
      await this.send(sequence, bytesOf(workload, index, sequence));
      books.sent(index, sequence);
    }
  }

  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.options.port.clock.after(ms, resolve));
  }

  // The bootstrap does not fail in this benchmark, but it may be asked by a connection that is about to break.
  private async connect(): Promise<void> {
    for (;;) {
      try {
        await this.requester.connect(String(this.options.index), this.options.to());
        return;
      } catch {
        await this.pause(RECONNECT_MS);
      }
    }
  }

  private async send(sequence: number, bytes: Uint8Array): Promise<void> {
    let backoffMs = FIRST_BACKOFF_MS;
    for (;;) {
      try {
        await this.acquire();
        const attempt = await this.publish(sequence, bytes);
        if (attempt === 'sent') return;
        if (attempt === 'full') backoffMs = Math.min(LAST_BACKOFF_MS, backoffMs * 2);
      } catch {
        // The outcome of what was under way is not known: it is done once more, and the consumer drops what it has.
        await this.connect();
      }
      await this.backOff(backoffMs);
    }
  }

  private backOff(ms: number): Promise<void> {
    return this.pause(ms * (0.5 + this.options.choices.pick(1000, 'order') / 1000));
  }

  // Takes the lock. If there is a lease, an owner that has held the same acquisition for longer than that loses it.
  private async acquire(): Promise<void> {
    const { requester } = this;
    const { clock } = this.options.port;
    const { leaseMs } = this.options;
    const word = pack(this.owner, ++this.acquisitions);
    let expected = 0n;
    let seen = 0n;
    let seenSinceMs = 0;
    let backoffMs = FIRST_BACKOFF_MS;
    for (;;) {
      const askedMs = clock.now();
      requester.compareSwap(LOCK_AT, expected, word, RESULT_AT, LAST);
      await requester.go();
      const found = requester.result(0);
      if (found === expected) {
        this.mine = word;
        this.ownedSinceMs = askedMs;
        return;
      }
      expected = 0n;
      if (highOf(found) === this.owner) {
        // From before a reconnect: nobody else can have it.
        expected = found;
        continue;
      }
      if (found !== seen) {
        seen = found;
        seenSinceMs = clock.now();
      } else if (leaseMs !== undefined && found !== 0n && clock.now() - seenSinceMs > leaseMs) {
        expected = found;
        continue;
      }
      await this.backOff(backoffMs);
      backoffMs = Math.min(LAST_BACKOFF_MS, backoffMs * 2);
    }
  }

  private async publish(sequence: number, bytes: Uint8Array): Promise<Attempt> {
    const { requester, owner } = this;
    requester.read(HEAD_AT, RESULT_AT, 16);
    await requester.go();
    const head = requester.result(0);
    const tail = requester.result(TAIL_AT - HEAD_AT);
    const index = highOf(head);
    const position = place(lowOf(head), bytes.length);
    const end = position + bytes.length;
    const full = index - highOf(tail) >= SLOTS || end - lowOf(tail) > DATA_BYTES;
    // An owner that has been slow does not begin to write: half of the lease is left for the writing itself.
    const { leaseMs, port } = this.options;
    const late = leaseMs !== undefined && port.clock.now() - this.ownedSinceMs > leaseMs / 2;
    if (full || late) {
      requester.compareSwap(LOCK_AT, this.mine, 0n, RESULT_AT, LAST);
      await requester.go();
      return full ? 'full' : 'lock-lost';
    }
    const memory = new Uint8Array(requester.local.buffer);
    memory.set(bytes, MESSAGE_AT);
    const crc = crc32cOf(bytes);
    writeEntry(requester.view, ENTRY_AT, { index, position, length: bytes.length, producer: owner, sequence, crc });
    requester.write(DATA_AT + (position % DATA_BYTES), MESSAGE_AT, bytes.length);
    requester.write(HEADER_BYTES + (index % SLOTS) * SLOT_BYTES, ENTRY_AT, SLOT_BYTES);
    requester.compareSwap(HEAD_AT, head, pack(index + 1, end), RESULT_AT, 0);
    requester.compareSwap(LOCK_AT, this.mine, 0n, RESULT_AT + 8, 0);
    requester.wake();
    await requester.go();
    // Somebody has taken the lock away meanwhile, and perhaps the place: not known to be sent.
    if (requester.result(0) !== head || requester.result(8) !== this.mine) return 'lock-lost';
    return 'sent';
  }
}
