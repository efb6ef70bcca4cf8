// Proves that events come out by time, and those of one time in the order in which they were added.
import t from 'tap';
import { EventHeap } from '../../../src/ts/planner/fleet/event-heap.js';
import { randomOf } from '../../../src/ts/planner/random.js';

interface Added {
  readonly atS: number;
  readonly order: number;
}

/** What the heap must hold, kept sorted the slow way. */
class Sorted {
  readonly list: Added[] = [];

  add(item: Added): void {
    this.list.push(item);
    this.list.sort((a, b) => a.atS - b.atS || a.order - b.order);
  }
}

void t.test('an empty heap has no next event', async (t) => {
  const heap = new EventHeap<string>();
  t.equal(heap.size, 0);
  t.equal(heap.nextS, Number.POSITIVE_INFINITY);
  heap.add(3, 'only');
  t.same([heap.size, heap.nextS], [1, 3]);
  t.equal(heap.take(), 'only');
  t.same([heap.size, heap.nextS], [0, Number.POSITIVE_INFINITY]);
});

void t.test('events of one time keep their order, whatever comes between', async (t) => {
  const heap = new EventHeap<string>();
  for (const name of ['a', 'b', 'c', 'd', 'e']) heap.add(5, name);
  heap.add(1, 'early');
  heap.add(9, 'late');
  t.equal(heap.take(), 'early');
  t.equal(heap.take(), 'a');
  heap.add(5, 'f');
  const rest: string[] = [];
  while (heap.size > 0) rest.push(heap.take());
  t.same(rest, ['b', 'c', 'd', 'e', 'f', 'late']);
});

void t.test('as a sorted list, while events come and go', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const draw = randomOf(seed);
    const heap = new EventHeap<Added>();
    const sorted = new Sorted();
    let order = 0;
    let wrong = 0;
    for (let step = 0; step < 400; step++) {
      // Few times, so many events have the same one; a heap that grows, and one that shrinks.
      if (draw() < (step < 200 ? 0.7 : 0.35) || heap.size === 0) {
        const item = { atS: Math.floor(draw() * 12), order: order++ };
        heap.add(item.atS, item);
        sorted.add(item);
      } else if (heap.take() !== sorted.list.shift()) wrong++;
      if (heap.size !== sorted.list.length || heap.nextS !== (sorted.list[0]?.atS ?? Number.POSITIVE_INFINITY)) wrong++;
    }
    while (heap.size > 0) if (heap.take() !== sorted.list.shift()) wrong++;
    t.equal(wrong, 0, `seed ${seed}`);
    t.equal(sorted.list.length, 0);
  }
});
