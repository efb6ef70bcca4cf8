// A binary heap of groups, by number.
//
// Invariant: no parent comes behind its children; the order of two groups in it must not change while both are there.

/** Groups, of which the least one comes first. */
export class GroupHeap {
  private readonly list: number[] = [];

  /** @param compare below 0: the first one comes first */
  constructor(private readonly compare: (a: number, b: number) => number) {}

  /** Adds a group. */
  push(group: number): void {
    const { list } = this;
    let at = list.length;
    list.push(group);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.compare(list[parent]!, group) <= 0) break;
      list[at] = list[parent]!;
      at = parent;
    }
    list[at] = group;
  }

  /** Takes the first one; undefined: there is none. */
  pop(): number | undefined {
    const { list } = this;
    const first = list[0];
    const last = list.pop();
    if (first === undefined || last === undefined || list.length === 0) return first;
    let at = 0;
    for (let child = 1; child < list.length; child = 2 * at + 1) {
      if (child + 1 < list.length && this.compare(list[child + 1]!, list[child]!) < 0) child++;
      if (this.compare(last, list[child]!) <= 0) break;
      list[at] = list[child]!;
      at = child;
    }
    list[at] = last;
    return first;
  }
}
