// The running tasks of a process, and when they began: a page of memory that the process writes and its supervisor
// reads while the process lives, whatever its handlers do, and after it has ended.
//
//   slot, words of 4 bytes   0      1        2          3           4 and 5          6        7
//                            |state |attempt |ticket low|ticket high|since us (f64)  |gateway |gateway run|
//
// Invariant: `state` is 0 in a slot without a task, and another number for each task before; it is stored last when a
// task begins and first when it ends. So a reader that finds the same number before and after reading the slot has read
// one task.
import { RdmaError } from '../core/errors.js';

const WORDS = 8;
const SLOT_BYTES = WORDS * 4;
// The words of a slot, as drawn above; its state is the first.
const ATTEMPT_WORD = 1;
const TICKET_LOW_WORD = 2;
const TICKET_HIGH_WORD = 3;
const SINCE_WORD = 4;
const GATEWAY_WORD = 6;
const GATEWAY_RUN_WORD = 7;
const MAX_STATE = 0x7fffffff;

/** Tasks that an instance may run at a time, at most: a page of memory. */
export const BOARD_SLOTS = 128;

/** One attempt of a request, as all places name it. */
export interface RequestAttempt {
  readonly gateway: number;
  readonly gatewayRun: number;
  readonly ticket: number;
  readonly attempt: number;
}

/** A task whose handler runs. */
export interface RunningTask extends RequestAttempt {
  /** When its handler began, by CLOCK_MONOTONIC in microseconds. */
  readonly sinceUs: number;
}

/** One end of a page; there is one writer. */
export class TaskBoard {
  private readonly words: Int32Array;
  private readonly times: Float64Array;
  private readonly free: number[] = [];
  private readonly slots: number;
  private lastState = 0;
  private readonly scratch = new Float64Array(1);
  private readonly scratchWords = new Int32Array(this.scratch.buffer);

  /** How many bytes a board takes. @param slots tasks at a time, at least 1 */
  static bytesFor(slots: number): number {
    return slots * SLOT_BYTES;
  }

  /** @param buffer of TaskBoard.bytesFor() bytes, zeroed by whoever made it */
  constructor(buffer: ArrayBuffer) {
    this.words = new Int32Array(buffer);
    this.times = new Float64Array(buffer);
    this.slots = this.words.length / WORDS;
    for (let slot = this.slots - 1; slot >= 0; slot--) this.free.push(slot);
  }

  /**
   * A handler is about to begin.
   *
   * @returns the slot, for {@link TaskBoard.end}
   * @throws RdmaError RDMA_ERR_BUSY when more tasks run than the board has slots
   */
  begin(gateway: number, gatewayRun: number, ticket: number, attempt: number, nowUs: number): number {
    const slot = this.free.pop();
    if (slot === undefined) throw new RdmaError('RDMA_ERR_BUSY', `more than ${this.slots} tasks run at a time`);
    const { words } = this;
    const at = slot * WORDS;
    words[at + ATTEMPT_WORD] = attempt;
    words[at + TICKET_LOW_WORD] = ticket;
    words[at + TICKET_HIGH_WORD] = ticket / 2 ** 32;
    this.times[(at + SINCE_WORD) / 2] = nowUs;
    words[at + GATEWAY_WORD] = gateway;
    words[at + GATEWAY_RUN_WORD] = gatewayRun;
    this.lastState = this.lastState === MAX_STATE ? 1 : this.lastState + 1;
    Atomics.store(words, at, this.lastState);
    return slot;
  }

  /** The handler in this slot has ended. */
  end(slot: number): void {
    Atomics.store(this.words, slot * WORDS, 0);
    this.free.push(slot);
  }

  /** The tasks that run. One that begins or ends in this moment may be missing. */
  read(): RunningTask[] {
    const tasks: RunningTask[] = [];
    for (let slot = 0; slot < this.slots; slot++) {
      const task = this.readSlot(slot * WORDS);
      if (task !== undefined) tasks.push(task);
    }
    return tasks;
  }

  // Each word by itself and in order: no processor may read the state earlier than what it describes.
  private readSlot(at: number): RunningTask | undefined {
    const { words, scratchWords } = this;
    const state = Atomics.load(words, at);
    if (state === 0) return undefined;
    const attempt = Atomics.load(words, at + ATTEMPT_WORD) >>> 0;
    const low = Atomics.load(words, at + TICKET_LOW_WORD) >>> 0;
    const high = Atomics.load(words, at + TICKET_HIGH_WORD) >>> 0;
    scratchWords[0] = Atomics.load(words, at + SINCE_WORD);
    scratchWords[1] = Atomics.load(words, at + SINCE_WORD + 1);
    const gateway = Atomics.load(words, at + GATEWAY_WORD) >>> 0;
    const gatewayRun = Atomics.load(words, at + GATEWAY_RUN_WORD) >>> 0;
    if (Atomics.load(words, at) !== state) return undefined;
    return { gateway, gatewayRun, ticket: high * 2 ** 32 + low, attempt, sinceUs: this.scratch[0]! };
  }
}
