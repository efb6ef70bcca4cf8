// Looks whether a file has changed.
//
// Invariant: each change is reported once, after the file was the same at two looks, so that nobody reads half of it. A
// file that is gone is no change: editors remove a file before they write it again.
// It polls the file instead of watching it: a watch of the kernel's ends when an editor replaces the file, and some
// file systems have none.
import { stat } from 'node:fs/promises';

const LOOK_MS = 150;

/** @internal */
export class FileWatch {
  private known: string | undefined;
  private seen: string | undefined;
  private timer: NodeJS.Timeout | undefined;
  private isClosed = false;

  /**
   * @param path of the file; what it is now is known
   * @param onChange called when it has changed
   */
  constructor(
    private readonly path: string,
    private readonly onChange: () => void,
  ) {}

  /** Begins to look. */
  async start(): Promise<void> {
    this.known = await this.look();
    this.seen = this.known;
    this.wait();
  }

  /** Looks no longer. */
  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
  }

  private wait(): void {
    if (!this.isClosed) this.timer = setTimeout(() => void this.check(), LOOK_MS);
  }

  private async check(): Promise<void> {
    const before = this.seen;
    this.seen = await this.look();
    if (this.seen !== undefined && this.seen === before && this.seen !== this.known && !this.isClosed) {
      this.known = this.seen;
      this.onChange();
    }
    this.wait();
  }

  private async look(): Promise<string | undefined> {
    try {
      const { ino, size, mtimeNs } = await stat(this.path, { bigint: true });
      return `${ino} ${size} ${mtimeNs}`;
    } catch {
      return undefined; // it is gone, for now
    }
  }
}
