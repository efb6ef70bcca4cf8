// The queue of events that a watcher has not read yet.
//
// Invariant: it holds at most one event for each key, the last, so a watcher that does not read costs no more than the
// records do. Events from before `synced` stay before it; `restarted` comes before all unread events.
import { onAbort } from '../core/abort.js';
import { RdmaError } from '../core/errors.js';
import type { WatchEvent } from './store.js';

const SYNCED = Symbol('synced');

/** @internal One watch: a store pushes, the watcher iterates, once. */
export class Feed implements AsyncIterable<WatchEvent>, AsyncIterator<WatchEvent> {
  private readonly events = new Map<string | symbol, WatchEvent>();
  /** Keys whose events come before the `synced` that waits here. */
  private readonly early = new Set<string>();
  private waiting:
    | { resolve: (result: IteratorResult<WatchEvent>) => void; reject: (error: unknown) => void }
    | undefined;
  private isRestarted = false;
  private isOver = false;
  private failure: unknown;
  private isTaken = false;
  private readonly stopListening: () => void;

  /** @param onEnd called once, when the watch is over; never before this returns */
  constructor(
    signal: AbortSignal,
    private readonly onEnd: () => void,
  ) {
    this.stopListening = onAbort(signal, () => this.end());
    if (!signal.aborted) return;
    this.isOver = true;
    queueMicrotask(onEnd);
  }

  push(event: WatchEvent): void {
    if (this.isOver) return;
    if (this.waiting !== undefined) {
      const { resolve } = this.waiting;
      this.waiting = undefined;
      resolve({ done: false, value: event });
      return;
    }
    if (event.type === 'synced') {
      for (const key of this.events.keys()) if (typeof key === 'string') this.early.add(key);
      this.events.delete(SYNCED);
      this.events.set(SYNCED, event);
      return;
    }
    if (event.type === 'restarted') {
      this.isRestarted = true;
      return;
    }
    const key = event.type === 'put' ? event.entry.key : event.key;
    if (!this.early.has(key)) this.events.delete(key); // else it keeps its turn
    this.events.set(key, event);
  }

  /** Ends the watch; with an error, once what came before it has been read. */
  end(error?: unknown): void {
    if (this.isOver) return;
    this.isOver = true;
    this.failure = error;
    if (error === undefined) {
      this.events.clear();
      this.isRestarted = false;
    }
    this.stopListening();
    this.onEnd();
    const { waiting } = this;
    this.waiting = undefined;
    if (error === undefined) waiting?.resolve({ done: true, value: undefined });
    else if (waiting !== undefined) {
      this.failure = undefined;
      waiting.reject(error);
    }
  }

  [Symbol.asyncIterator](): AsyncIterator<WatchEvent> {
    if (this.isTaken) throw new RdmaError('RDMA_ERR_BUSY', 'a watch is read by one loop');
    this.isTaken = true;
    return this;
  }

  next(): Promise<IteratorResult<WatchEvent>> {
    if (this.isRestarted) {
      this.isRestarted = false;
      return Promise.resolve({ done: false, value: { type: 'restarted' } });
    }
    for (const [key, value] of this.events) {
      this.events.delete(key);
      if (key === SYNCED) this.early.clear();
      else this.early.delete(key as string);
      return Promise.resolve({ done: false, value });
    }
    if (this.isOver) {
      const { failure } = this;
      this.failure = undefined;
      return failure === undefined ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(failure);
    }
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
    });
  }

  return(): Promise<IteratorResult<WatchEvent>> {
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }
}
