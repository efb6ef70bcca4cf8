// A line of progress on stderr.
//
// Invariant: nothing is written unless stderr is a terminal, and the line is gone when the command ends.

export class Progress {
  private readonly shown = process.stderr.isTTY === true;
  private drawn = false;

  update(text: string): void {
    if (!this.shown) return;
    const width = Math.max(20, (process.stderr.columns ?? 80) - 1);
    process.stderr.write(`\r\u001b[K${text.slice(0, width)}`);
    this.drawn = true;
  }

  /** A line that stays. */
  note(text: string): void {
    if (!this.shown) return;
    this.clear();
    process.stderr.write(`${text}\n`);
  }

  clear(): void {
    if (this.drawn) process.stderr.write('\r\u001b[K');
    this.drawn = false;
  }
}
