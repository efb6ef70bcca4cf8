// Outputs and pieces of a stage instance that wait for memory.
//
// Invariant: they go out in order, each once: what comes while others wait goes behind them.
export class UnsentOutputs {
  private readonly attempts: (() => boolean)[] = [];
  private isSending = false;

  /** How many wait. */
  get length(): number {
    return this.attempts.length;
  }

  /**
   * Sends one now, or when there is memory.
   *
   * @param attempt false: there is no memory for it now; it is called again. It does not throw
   */
  send(attempt: () => boolean): void {
    if (this.attempts.length > 0 || !attempt()) this.attempts.push(attempt);
  }

  /** Memory was given back: sends as many as there is room for. */
  retry(): void {
    // An attempt that has just given memory back: the next ones follow it.
    if (this.isSending) return;
    this.isSending = true;
    try {
      while (this.attempts.length > 0 && this.attempts[0]!()) this.attempts.shift();
    } finally {
      this.isSending = false;
    }
  }
}
