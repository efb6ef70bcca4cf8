// The memory that a Python process has mapped: it gets a descriptor of each piece once, and tasks name it by number.
//
// Invariant: a number names one piece of memory for as long as the process runs. What is closed here is closed
// there soon; until then its pages are kept, and no task names them.
import { type Pages, pagesOf, sendDescriptor } from '../../verbs/descriptors.js';

/** Where bytes lie. */
export interface Location {
  readonly segment: number;
  readonly offset: number;
}

/** Closed memory is looked for so often, in ms. */
const SWEEP_MS = 2000;

export class Segments {
  private readonly numbers = new Map<ArrayBuffer, number>();
  private readonly socket: number;
  private readonly drop: (segment: number) => void;
  private unsent: { bytes: Uint8Array; fd: number; buffer: ArrayBuffer }[] = [];
  private last = 0;
  private readonly timer: NodeJS.Timeout;

  /**
   * @param socket our end of the channel
   * @param drop tells the process that a segment is not used any more
   */
  constructor(socket: number, drop: (segment: number) => void) {
    this.socket = socket;
    this.drop = drop;
    this.timer = setInterval(() => this.sweep(), SWEEP_MS);
    this.timer.unref();
  }

  /**
   * Where the bytes of a view are for the process, which gets their memory when it has not.
   *
   * @param pages of its buffer, where the caller knows them
   * @returns undefined when they lie in memory that cannot be shared
   * @throws RdmaError EPIPE when the process has gone
   */
  locate(view: { buffer: ArrayBufferLike; byteOffset: number }, pages?: Pages): Location | undefined {
    const buffer = view.buffer as ArrayBuffer;
    let segment = this.numbers.get(buffer);
    if (segment === undefined) {
      const found = pages ?? pagesOf(buffer);
      if (found === undefined) return undefined;
      segment = ++this.last;
      this.numbers.set(buffer, segment);
      const words = { segment, offset: found.offset, bytes: buffer.byteLength };
      this.unsent.push({ bytes: Buffer.from(JSON.stringify(words)), fd: found.fd, buffer });
      this.flush();
    }
    return { segment, offset: view.byteOffset };
  }

  /** Sends descriptors that the process had no room for; it takes them out while it waits for one. */
  flush(): void {
    while (this.unsent.length > 0) {
      const { bytes, fd, buffer } = this.unsent[0]!;
      // Nobody names what was closed meanwhile; its descriptor may be another file's.
      const isThere = buffer.byteLength > 0;
      if (isThere && !sendDescriptor(this.socket, bytes, fd)) {
        setTimeout(() => this.tryFlush(), 1);
        return;
      }
      this.unsent.shift();
    }
  }

  private tryFlush(): void {
    try {
      this.flush();
    } catch {
      // The process has gone, and its end is noticed as such.
      this.unsent = [];
    }
  }

  /** Forgets what was closed. */
  sweep(): void {
    for (const [buffer, segment] of this.numbers) {
      if (buffer.byteLength > 0) continue;
      this.numbers.delete(buffer);
      this.drop(segment);
    }
  }

  /** How many there are. */
  get size(): number {
    return this.numbers.size;
  }

  close(): void {
    clearInterval(this.timer);
    this.unsent = [];
    this.numbers.clear();
  }
}
