// A store whose every answer and event a test gives by hand, and a clock that a test moves.
//
// Invariant: nothing happens by itself: no time passes, and no answer comes, until the test says so.
import { setImmediate as turn } from 'node:timers/promises';
import type { ControlPort } from '../../src/ts/control/port.js';
import type { ControlStore, Entry, Json, Revision, WatchEvent } from '../../src/ts/control/index.js';
import { Feed } from '../../src/ts/control/feed.js';
import { bytesOf } from '../../src/ts/control/store.js';

export const entryOf = (key: string, revision: Revision, value: Json): Entry => ({
  key,
  revision,
  value: bytesOf(value),
});

/** A put that waits for its answer. */
export interface Asked {
  readonly value: Json;
  readonly expected: Revision | undefined;
  readonly answer: (revision: Revision) => void;
}

export class ScriptedStore implements ControlStore {
  /** What get() answers; undefined: no record. */
  found: Entry | undefined;
  readonly puts: Asked[] = [];
  private feed: Feed | undefined;

  get = (): Promise<Entry | undefined> => Promise.resolve(this.found);
  put: ControlStore['put'] = (_key, value, options) =>
    new Promise((answer) => this.puts.push({ value: value as Json, expected: options?.expected, answer }));
  delete = (): Promise<void> => Promise.resolve();
  close = (): Promise<void> => Promise.resolve();

  watch(_prefix: string, signal: AbortSignal): Feed {
    this.feed = new Feed(signal, () => {});
    return this.feed;
  }

  /** What the watch tells now, one after the other. */
  async tell(...events: WatchEvent[]): Promise<void> {
    for (const event of events) {
      this.feed!.push(event);
      await settled();
    }
  }
}

/** Waits until all that is due by now has run. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await turn();
}

/** A port whose clock moves only when a test moves it. */
export class ScriptedPort implements ControlPort {
  private nowMs = 0;
  private ids = 0;
  private readonly due = new Set<{ atMs: number; call: () => void }>();
  readonly timers = {
    now: () => this.nowMs,
    after: (ms: number, call: () => void) => {
      const timer = { atMs: this.nowMs + ms, call };
      this.due.add(timer);
      return () => void this.due.delete(timer);
    },
  };
  id = (): string => `id-${++this.ids}`;
  random = (): number => 0.5;

  /** Moves the clock, and runs what comes due, in steps of 10 ms. */
  async pass(ms: number): Promise<void> {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; ) {
      this.nowMs = Math.min(endMs, this.nowMs + 10);
      for (const timer of [...this.due].sort((a, b) => a.atMs - b.atMs)) {
        if (timer.atMs > this.nowMs || !this.due.delete(timer)) continue;
        timer.call();
      }
      await settled();
    }
  }
}
