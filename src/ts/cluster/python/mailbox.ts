// Records between a stage process and its Python process: two rings in memory that both have mapped.
//
// Invariant: each ring has one writer and one reader. A record is whole before the writer moves the tail, and its bytes
// are not written again before the reader has moved the head. The writer rings the reader's bell, unless the
// reader says that it polls. A reader that stops polling says so, and looks once more before it sleeps.
//
//   0      tail of the ring to Python, bytes written since the start, modulo 2^32
//   64     head of it, bytes read
//   128    tail of the ring to Node
//   192    head of it
//   256    a word for each slot: why its task is not wanted any more, 0 while it is
//   1024   1 while Python polls, 0 while it may sleep
//   1088   the same of Node
//   4096   the ring to Python, then the ring to Node
//
//   record: | length, u32 | JSON in UTF-8 | padding to a multiple of 8 |      it may go on at the ring's beginning
import { RdmaError } from '../../core/errors.js';

/** Bytes of one ring; a power of two. */
export const RING_BYTES = 4 * 2 ** 20;
const RINGS_AT = 4096;
/** Bytes of the memory in all. */
export const MAILBOX_BYTES = RINGS_AT + 2 * RING_BYTES;
/** Tasks that there may be at a time. */
export const MAX_SLOTS = 128;
/** The most bytes of a record. */
export const MAX_RECORD_BYTES = RING_BYTES / 2;

const HEAD_BYTES = 4;
const CANCEL_WORD = 256 / 4;
const PYTHON_POLLS_WORD = 1024 / 4;
const NODE_POLLS_WORD = 1088 / 4;
const padded = (bytes: number) => (HEAD_BYTES + bytes + 7) & -8;

/** Node's end. */
export class Mailbox {
  private readonly words: Int32Array;
  private readonly out: Buffer;
  private readonly in: Buffer;

  /** @param buffer MAILBOX_BYTES, zeroed */
  constructor(buffer: ArrayBuffer) {
    this.words = new Int32Array(buffer, 0, RINGS_AT / 4);
    this.out = Buffer.from(buffer, RINGS_AT, RING_BYTES);
    this.in = Buffer.from(buffer, RINGS_AT + RING_BYTES, RING_BYTES);
  }

  /**
   * Writes a record.
   *
   * @returns false when there is no room for it now
   * @throws RdmaError RDMA_ERR_MESSAGE_TOO_LARGE
   */
  post(text: string): boolean {
    const { words, out } = this;
    const length = Buffer.byteLength(text);
    if (length > MAX_RECORD_BYTES) {
      throw new RdmaError('RDMA_ERR_MESSAGE_TOO_LARGE', `a task's metadata takes ${length} bytes`, {
        remedy: `keep it below ${MAX_RECORD_BYTES} bytes for all inputs together: put large data into tensors`,
      });
    }
    const tail = Atomics.load(words, 0) >>> 0;
    const used = (tail - Atomics.load(words, 16)) >>> 0;
    if (padded(length) > RING_BYTES - used) return false;
    // Heads lie on multiples of 8: they are never cut.
    const at = tail % RING_BYTES;
    out.writeUInt32LE(length, at);
    const from = (at + HEAD_BYTES) % RING_BYTES;
    if (from + length <= RING_BYTES) out.write(text, from);
    else {
      const bytes = Buffer.from(text);
      const cut = RING_BYTES - from;
      bytes.copy(out, from, 0, cut);
      bytes.copy(out, 0, cut);
    }
    Atomics.store(words, 0, (tail + padded(length)) | 0);
    return true;
  }

  /**
   * Takes the next record out.
   *
   * @returns its text; undefined: there is none
   * @throws RdmaError RDMA_ERR_PROTOCOL when what is there cannot be a record
   */
  take(): string | undefined {
    const { words } = this;
    const head = Atomics.load(words, 48) >>> 0;
    const there = ((Atomics.load(words, 32) >>> 0) - head) >>> 0;
    if (there === 0) return undefined;
    const at = head % RING_BYTES;
    const length = this.in.readUInt32LE(at & -8);
    if (head % 8 !== 0 || there > RING_BYTES || length > MAX_RECORD_BYTES || padded(length) > there) {
      throw new RdmaError('RDMA_ERR_PROTOCOL', 'the Python process has written over the records that it shares');
    }
    const from = (at + HEAD_BYTES) % RING_BYTES;
    const cut = Math.min(length, RING_BYTES - from);
    const text =
      cut === length
        ? this.in.toString('utf8', from, from + length)
        : Buffer.concat([this.in.subarray(from), this.in.subarray(0, length - cut)]).toString('utf8');
    Atomics.store(words, 48, (head + padded(length)) | 0);
    return text;
  }

  /** Whether Python finds by itself what was posted; asked after that. */
  get pythonPolls(): boolean {
    return Atomics.load(this.words, PYTHON_POLLS_WORD) !== 0;
  }

  /** Says whether this end polls. Whoever stops takes once more what is there before it sleeps. */
  setPolls(polls: boolean): void {
    Atomics.store(this.words, NODE_POLLS_WORD, polls ? 1 : 0);
  }

  /** Says why the task in a slot is not wanted any more; 0: it is. */
  setCancelled(slot: number, why: number): void {
    Atomics.store(this.words, CANCEL_WORD + slot, why);
  }
}
