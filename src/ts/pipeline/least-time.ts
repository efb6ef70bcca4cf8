// The shortest time of a handler lately: a task that has less time left is hopeless.
//
// Invariant: the figure is the smallest of a minimum number of recent samples, and 0 before there are as many: a task
// is never given up because of a single slow one.

const WINDOW = 32;

export class LeastTime {
  private count = 0;
  private current = Number.POSITIVE_INFINITY; // of the window that is being filled
  private last = 0; // of the window before; 0: there was none

  /** A task has ended with an output. @param us what it took, in microseconds */
  add(us: number): void {
    if (us < this.current) this.current = us;
    if (++this.count < WINDOW) return;
    this.last = this.current;
    this.current = Number.POSITIVE_INFINITY;
    this.count = 0;
  }

  /** In microseconds; 0: not known. */
  get us(): number {
    return Math.min(this.last, this.current);
  }
}
