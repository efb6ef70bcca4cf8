// Apps, their releases and their versions, as one component of the cluster sees them, even when the store has lost
// them.
//
// Invariant: a record is gone when somebody has removed it, not when the store was emptied. A mark beside the records
// tells the two apart: it is written before the first record and never removed. If the mark is gone too, the known
// records are written back, the mark last: a reader that finds the mark finds all of them.
import type { ControlPort, ControlStore, Entry } from '../control/index.js';
import { View } from '../control/view.js';
import { APPS } from './cluster-records.js';

/** The mark of records with a prefix: no name of an app has a slash. */
export const markOf = (prefix: string): string => `${prefix}/mark`;

const RETRY_MS = 300;

/** Writes the mark where it is not there. @throws those of ControlStore.put */
export const writeMark = (store: ControlStore, prefix: string): Promise<void> =>
  putIfAbsent(store, markOf(prefix), true);

// Whoever was faster, or never lost it, has it written already.
async function putIfAbsent(store: ControlStore, key: string, value: Parameters<ControlStore['put']>[1]): Promise<void> {
  try {
    await store.put(key, value, { expected: 0 });
  } catch (error) {
    if ((error as { code?: string }).code !== 'RDMA_ERR_CONFLICT') throw error;
  }
}

export interface AppRecordsOptions {
  /** Of their keys, with a dot at its end; default that of apps. */
  readonly prefix?: string | undefined;
  readonly leaseMs: number;
  readonly port: ControlPort;
  readonly onChange: () => void;
}

export class AppRecords {
  private readonly prefix: string;
  private readonly mark: string;
  private readonly view: View;
  private readonly known = new Map<string, Entry>();
  private readonly doubtful = new Set<string>(); // gone, and nobody knows why yet
  private hasMark = false;
  private asking: Promise<void> | undefined;
  private isClosed = false;

  constructor(
    private readonly store: ControlStore,
    private readonly options: AppRecordsOptions,
  ) {
    const { leaseMs, port, prefix = APPS } = options;
    this.prefix = prefix;
    this.mark = markOf(prefix);
    this.view = new View(store, {
      prefix,
      leaseMs,
      port,
      onChange: (key, entry) => {
        this.take(key, entry);
        options.onChange();
      },
    });
  }

  /** Whether every record that is there has been seen once. */
  get isSynced(): boolean {
    return this.view.syncs > 0;
  }

  /** Why the store was last of no use; undefined while all goes well. */
  get failure(): View['failure'] {
    return this.view.failure;
  }

  get(name: string): Entry | undefined {
    return this.known.get(this.prefix + name);
  }

  /** Names of all apps. */
  names(): string[] {
    return [...this.known.keys()].map((key) => key.slice(this.prefix.length));
  }

  private take(key: string | undefined, entry: Entry | undefined): void {
    if (key === undefined) return;
    if (key === this.mark) {
      this.hasMark ||= entry !== undefined;
      if (entry === undefined) this.doubt(key);
    } else if (entry !== undefined) {
      this.doubtful.delete(key);
      this.known.set(key, entry);
    } else if (this.hasMark) this.doubt(key);
    else this.known.delete(key);
  }

  private doubt(key: string): void {
    this.doubtful.add(key);
    this.asking ??= this.askAll().finally(() => {
      this.asking = undefined;
    });
  }

  private async askAll(): Promise<void> {
    while (this.doubtful.size > 0 && !this.isClosed) {
      try {
        await this.ask([...this.doubtful]);
      } catch {
        // It is away, or was emptied just now.
        await new Promise<void>((resolve) => this.options.port.timers.after(RETRY_MS, resolve));
      }
    }
  }

  private async ask(keys: readonly string[]): Promise<void> {
    const { store, known, doubtful } = this;
    const mark = await store.get(this.mark);
    if (mark === undefined) {
      for (const [key, { value }] of [...known]) await putIfAbsent(store, key, value);
      await writeMark(store, this.prefix);
    }
    for (const key of keys) {
      const entry = key === this.mark ? undefined : await store.get(key);
      if (!doubtful.delete(key) || key === this.mark) continue; // the watch has told since
      if (entry !== undefined) known.set(key, entry);
      else if (mark !== undefined) known.delete(key);
      else doubtful.add(key);
    }
    this.options.onChange();
  }

  async close(): Promise<void> {
    this.isClosed = true;
    await this.view.close();
  }
}
