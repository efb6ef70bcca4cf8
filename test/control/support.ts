// What the tests of the control plane share: a store that may be cut off, clocks that a test moves, and waiting for
// progress.
//
// Invariant: nothing here decides; a test says when the store is away.
import { setTimeout as sleep } from 'node:timers/promises';
import { type ControlStore, memoryControlStore, type MemoryRecords, RdmaError } from '../../src/ts/control/index.js';

/** A store in memory that can be away, or hang. */
export class CutStore implements ControlStore {
  state: 'well' | 'away' | 'hangs' = 'well';
  private readonly inner: ControlStore;

  constructor(records: MemoryRecords) {
    this.inner = memoryControlStore(records);
  }

  private ask<T>(call: () => Promise<T>): Promise<T> {
    if (this.state === 'away') return Promise.reject(new RdmaError('RDMA_ERR_PEER_GONE', 'cut off'));
    return this.state === 'hangs' ? new Promise(() => {}) : call();
  }

  get: ControlStore['get'] = (key) => this.ask(() => this.inner.get(key));
  put: ControlStore['put'] = (key, value, options) => this.ask(() => this.inner.put(key, value, options));
  delete: ControlStore['delete'] = (key, expected) => this.ask(() => this.inner.delete(key, expected));
  watch: ControlStore['watch'] = (prefix, signal) => this.inner.watch(prefix, signal);
  close: ControlStore['close'] = () => this.inner.close();
}

/** Waits for something to become so; a test's own time-out ends one that never does. */
export async function becomes(words: string, ask: () => boolean, tries = 3000): Promise<void> {
  for (let i = 0; i < tries; i++) {
    if (ask()) return;
    await sleep(10);
  }
  throw new Error(`never: ${words}`);
}
