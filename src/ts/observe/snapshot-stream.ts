// Snapshots for any number of listeners, as server-sent events.
//
// Invariant: a snapshot is encoded once, and all listeners share its bytes. One that reads slowly misses snapshots
// instead of piling them up: at most one waits for it; one that reads nothing for half a minute is let go. Without
// listeners the pipeline is not looked at.
import type { ServerResponse } from 'node:http';
import { checkInteger } from '../core/validate.js';
import type { Observer } from './observer.js';
import type { Snapshot } from './snapshot.js';

/** What an HTTP server must be able to do for a listener; `ServerResponse` is one. */
export type ListenerResponse = Pick<
  ServerResponse,
  'write' | 'end' | 'destroy' | 'writableLength' | 'writableNeedDrain' | 'on' | 'destroyed'
>;

/** Limits of a {@link SnapshotStream}. */
export interface SnapshotStreamOptions {
  /** How many may listen at a time, 1 to 100 000; default 2000. */
  maxListeners?: number;
  /** After how long without reading a listener is let go, in ms; default 30 000. */
  stuckMs?: number;
}

interface Listener {
  readonly response: ListenerResponse;
  /** When it had taken everything the last time, in ms. */
  readyAtMs: number;
}

const COMMENT = Buffer.from(': still here\n\n');
const COMMENT_MS = 15_000;

/** Sends snapshots to the responses that are added to it. For HTTP servers other than Fastify. */
export class SnapshotStream {
  private readonly observer: Observer;
  private readonly maxListeners: number;
  private readonly stuckMs: number;
  private readonly listeners = new Set<Listener>();
  private stop: (() => void) | undefined;
  private keepAlive: NodeJS.Timeout | undefined;
  private last: Buffer | undefined;
  private number = 0;
  private missed = 0;

  constructor(observer: Observer, { maxListeners, stuckMs }: SnapshotStreamOptions = {}) {
    this.observer = observer;
    this.maxListeners = checkInteger('maxListeners', maxListeners ?? 2000, 1, 100_000);
    this.stuckMs = checkInteger('stuckMs', stuckMs ?? 30_000, 1, 2 ** 31 - 1);
  }

  /** Listeners now, and snapshots that slow ones have missed since the start. */
  get status(): { listeners: number; missed: number } {
    return { listeners: this.listeners.size, missed: this.missed };
  }

  /** Whether there are as many listeners as there may be: another one has to come back later. */
  get isFull(): boolean {
    return this.listeners.size >= this.maxListeners;
  }

  /** Begins to send to a response whose head has been sent; it ends with its connection, or by close(). */
  add(response: ListenerResponse): void {
    const listener: Listener = { response, readyAtMs: performance.now() };
    this.listeners.add(listener);
    const leave = () => {
      this.listeners.delete(listener);
      if (this.listeners.size === 0) this.rest();
    };
    response.on('close', leave);
    response.on('error', leave);
    response.on('drain', () => {
      listener.readyAtMs = performance.now();
    });
    if (response.destroyed) {
      leave();
      return;
    }
    if (this.last !== undefined) response.write(this.last);
    if (this.stop !== undefined) return;
    this.stop = this.observer.subscribe((snapshot) => this.send(snapshot));
    this.keepAlive = setInterval(() => this.sendBytes(COMMENT), COMMENT_MS);
    this.keepAlive.unref();
  }

  private send(snapshot: Snapshot): void {
    this.number++;
    const bytes = Buffer.from(`id: ${this.number}\nevent: snapshot\ndata: ${JSON.stringify(snapshot)}\n\n`);
    this.last = bytes;
    this.missed += this.sendBytes(bytes);
  }

  // Answers how many could not take it.
  private sendBytes(bytes: Buffer): number {
    const nowMs = performance.now();
    let missed = 0;
    for (const listener of this.listeners) {
      const { response } = listener;
      if (response.writableNeedDrain || response.writableLength > 0) {
        missed++;
        if (nowMs - listener.readyAtMs > this.stuckMs) response.destroy();
        continue;
      }
      listener.readyAtMs = nowMs;
      response.write(bytes);
    }
    return missed;
  }

  // Nobody listens.
  private rest(): void {
    this.stop?.();
    this.stop = undefined;
    clearInterval(this.keepAlive);
    this.last = undefined; // it will be old by the time that somebody comes
  }

  /** Ends every response. */
  close(): void {
    for (const { response } of this.listeners) response.end();
    this.listeners.clear();
    this.rest();
  }
}
