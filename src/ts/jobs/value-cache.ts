// Small results in memory, so that one that many ask for is read from the store once.
//
// Invariant: bounded in bytes; a name always means the same bytes, so nothing here is ever stale; readers get
// bytes of their own.

const MAX_VALUE_BYTES = 256 * 1024;
const MAX_BYTES = 16 * 2 ** 20;

/** @internal */
export class ValueCache {
  private readonly values = new Map<string, Uint8Array>(); // the one that was used last is at the end
  private bytes = 0;

  /** A copy; undefined: it is not here. */
  get(name: string): Uint8Array | undefined {
    const value = this.values.get(name);
    if (value === undefined) return undefined;
    this.values.delete(name);
    this.values.set(name, value);
    return value.slice();
  }

  /** Keeps a copy, if it is small. */
  add(name: string, value: Uint8Array): void {
    if (value.length > MAX_VALUE_BYTES || this.values.has(name)) return;
    this.values.set(name, new Uint8Array(value));
    this.bytes += value.length;
    for (const [oldest, { length }] of this.values) {
      if (this.bytes <= MAX_BYTES) break;
      this.values.delete(oldest);
      this.bytes -= length;
    }
  }
}
