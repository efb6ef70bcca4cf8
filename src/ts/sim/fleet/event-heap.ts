// What is going to happen, earliest first.
//
// Invariant: events of one time come out in the order in which they were added, so a run is the same each time.

export class EventHeap<T> {
  private readonly times: number[] = [];
  private readonly orders: number[] = [];
  private readonly items: T[] = [];
  private added = 0;

  get size(): number {
    return this.times.length;
  }

  /** When the next one happens; Infinity: there is none. */
  get nextS(): number {
    return this.times.length === 0 ? Number.POSITIVE_INFINITY : this.times[0]!;
  }

  add(atS: number, item: T): void {
    const { times, orders, items } = this;
    const order = this.added++;
    let at = times.length;
    times.push(atS);
    orders.push(order);
    items.push(item);
    // A new one has the highest order: only an earlier time goes up.
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (times[parent]! <= atS) break;
      times[at] = times[parent]!;
      orders[at] = orders[parent]!;
      items[at] = items[parent]!;
      at = parent;
    }
    times[at] = atS;
    orders[at] = order;
    items[at] = item;
  }

  /** Takes out the next one; call it only where `size` is not 0. */
  take(): T {
    const { times, orders, items } = this;
    const first = items[0]!;
    const [atS, order, item] = [times.pop()!, orders.pop()!, items.pop()!];
    const size = times.length;
    if (size === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      const right = child + 1;
      if (right < size && isBefore(times[right]!, orders[right]!, times[child]!, orders[child]!)) child = right;
      if (!isBefore(times[child]!, orders[child]!, atS, order)) break;
      times[at] = times[child]!;
      orders[at] = orders[child]!;
      items[at] = items[child]!;
      at = child;
    }
    times[at] = atS;
    orders[at] = order;
    items[at] = item;
    return first;
  }
}

function isBefore(aS: number, aOrder: number, bS: number, bOrder: number): boolean {
  return aS < bS || (aS === bS && aOrder < bOrder);
}
