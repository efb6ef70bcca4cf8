// The plans that a process is adopting now, and which of them were retired meanwhile.
//
// Invariant: a plan that is retired while it is being adopted is retired once more after the adoption. Nothing is kept
// of a plan that nobody is adopting.

export class Adoptions {
  private readonly underWay = new Map<number, { count: number; isRetired: boolean }>();

  /** How many plans are being adopted. */
  get size(): number {
    return this.underWay.size;
  }

  /**
   * Adopts a plan.
   *
   * @param number of the plan
   * @param adopt does it, and answers how to retire it
   */
  async adopt(number: number, adopt: () => Promise<() => Promise<void>>): Promise<void> {
    const state = this.underWay.get(number) ?? { count: 0, isRetired: false };
    state.count++;
    this.underWay.set(number, state);
    try {
      const retire = await adopt();
      if (state.isRetired) await retire();
    } finally {
      if (--state.count === 0) this.underWay.delete(number);
    }
  }

  /** A plan is being retired. */
  retired(number: number): void {
    const state = this.underWay.get(number);
    if (state !== undefined) state.isRetired = true;
  }
}
