// The events of a simulation, earliest first.
//
// Invariant: events of the same time come out in the order in which they were added, so runs repeat exactly.

export class EventHeap<T> {
  private readonly times: number[] = [];
  private readonly orders: number[] = [];
  private readonly items: T[] = [];
  private added = 0;

  get size(): number {
    return this.times.length;
  }

  /** The time of the next event; Infinity when there is none. */
  get nextS(): number {
    return this.times.length === 0 ? Number.POSITIVE_INFINITY : this.times[0]!;
  }

  add(atS: number, item: T): void {
    const { times } = this;
    const order = this.added++;
    let at = times.length;
    // The new event has the highest order, so only an earlier time moves it up.
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (times[parent]! <= atS) break;
      this.move(parent, at);
      at = parent;
    }
    this.put(at, atS, order, item);
  }

  private put(at: number, atS: number, order: number, item: T): void {
    this.times[at] = atS;
    this.orders[at] = order;
    this.items[at] = item;
  }

  private move(from: number, to: number): void {
    this.put(to, this.times[from]!, this.orders[from]!, this.items[from]!);
  }

  /** Removes the next event; call it only when `size` is not 0. */
  take(): T {
    const { times, orders, items } = this;
    const first = items[0]!;
    const atS = times.pop()!;
    const order = orders.pop()!;
    const item = items.pop()!;
    const size = times.length;
    if (size === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      const right = child + 1;
      if (right < size && isBefore(times[right]!, orders[right]!, times[child]!, orders[child]!)) child = right;
      if (!isBefore(times[child]!, orders[child]!, atS, order)) break;
      this.move(child, at);
      at = child;
    }
    this.put(at, atS, order, item);
    return first;
  }
}

function isBefore(aS: number, aOrder: number, bS: number, bOrder: number): boolean {
  return aS < bS || (aS === bS && aOrder < bOrder);
}
