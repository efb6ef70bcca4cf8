// Running a measuring loop without blocking the process for good.
//
// Invariant: a loop runs synchronously and gives the event loop a turn only between two samples or when nothing
// has come for some milliseconds; a loop that gets nothing for 30 s, or whose peer is gone, ends with an error.
import { performance } from 'node:perf_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import { RdmaError } from '../../core/errors.js';
import { completionError, type CompletionQueue, type Device } from '../../verbs/index.js';

/** What a loop says when it returns. */
export const Advance = { DONE: 0, IDLE: 1, TURN: 2 } as const;
export type Advance = (typeof Advance)[keyof typeof Advance];

export interface Loop {
  /** Goes on from where it stood. DONE; IDLE: nothing has come for a while; TURN: its time is up. */
  advance(): Advance;
  /** Grows with everything that happens. */
  readonly progress: number;
}

/** How long a loop runs before it gives the event loop a turn. */
export const TURN_MS = 200;
/** Looks at a completion queue before a loop says IDLE, when it may not sleep: some milliseconds. */
export const POLL_SPINS = 1 << 15;
/** Looks that one poll makes. */
export const LOOKS = 256;
/** Looks at memory before a loop says IDLE. */
export const MEMORY_SPINS = 1 << 18;
const STALL_MS = 30_000;
/** The longest sleep before a look at the clock. */
const SLEEP_MS = 1000;

/** What ends a run from outside. */
export interface Halt {
  /** Set once the peer is gone. */
  readonly failure: Error | undefined;
  /** Calls back once when the peer is gone. */
  onFailure(callback: () => void): () => void;
}

export interface DriveOptions {
  halt: Halt;
  /** Sleep here when idle. */
  sleeper?: Sleeper | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Runs a loop to its end.
 *
 * @throws RdmaError RDMA_ERR_TIMEOUT, RDMA_ERR_ABORTED, and what the peer's failure is
 */
export async function drive(loop: Loop, { halt, sleeper, signal }: DriveOptions): Promise<void> {
  let progress = -1;
  let movedAt = performance.now();
  let armed = false;
  for (;;) {
    const state = loop.advance();
    if (state === Advance.DONE) return;
    if (signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the measurement was stopped');
    if (halt.failure !== undefined) throw halt.failure;
    if (loop.progress !== progress) {
      progress = loop.progress;
      movedAt = performance.now();
    } else if (performance.now() - movedAt > STALL_MS) {
      throw new RdmaError('RDMA_ERR_TIMEOUT', `nothing has come from the other side for ${STALL_MS / 1000} s`);
    }
    if (sleeper === undefined || state === Advance.TURN) {
      await turn();
    } else if (armed) {
      await sleeper.sleep(halt, signal);
      armed = false;
    } else {
      sleeper.arm(); // and look once more, for what came before
      armed = true;
    }
  }
}

/** Sleeps on a completion channel until one of its queues has something. */
export class Sleeper {
  readonly channel: ReturnType<Device['createCompletionChannel']>;
  private readonly queues: CompletionQueue[] = [];
  private rung = false;
  private wake: (() => void) | undefined;

  constructor(device: Device) {
    this.channel = device.createCompletionChannel(() => {
      this.rung = true;
      this.wake?.();
    });
  }

  add(queue: CompletionQueue): void {
    this.queues.push(queue);
  }

  arm(): void {
    this.rung = false;
    for (const queue of this.queues) queue.requestNotify();
  }

  /** Until an event has come since arm(), somebody wants to end, or SLEEP_MS have passed. */
  async sleep(halt: Halt, signal: AbortSignal | undefined): Promise<void> {
    if (this.rung || signal?.aborted || halt.failure !== undefined) return;
    await new Promise<void>((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        off();
        signal?.removeEventListener('abort', wake);
        this.wake = undefined;
        resolve();
      };
      const timer = setTimeout(wake, SLEEP_MS);
      const off = halt.onFailure(wake);
      signal?.addEventListener('abort', wake);
      this.wake = wake;
    });
  }
}

/** Throws for a completion that failed. */
export function checkCompletion(queue: CompletionQueue, index: number): void {
  const status = queue.completions.status(index);
  if (status === 0) return;
  throw completionError(status, { operation: 'a request failed' });
}
