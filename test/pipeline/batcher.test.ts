// Proves of every sequence of arrivals, beginnings and polls: no batch is larger than it may be or has two keys, tasks
// of a key begin in the order in which they came, none waits longer than it may or past its latest start while there is
// room, and no key waits for ever behind another one.
import fc from 'fast-check';
import t from 'tap';
import {
  type BatchRules,
  decideBatch,
  dueAtUs,
  joinCount,
  type WaitingGroup,
  type WaitingTask,
} from '../../src/ts/pipeline/batcher.js';

interface Keyed extends WaitingTask {
  key: string;
}

const rules = fc.record<BatchRules>({
  size: fc.integer({ min: 1, max: 8 }),
  waitUs: fc.constantFrom(0, 1, 50, 1000),
  neededUs: fc.constantFrom(0, 10, 300),
});
const arrivals = fc.array(
  fc.record({
    key: fc.constantFrom('a', 'b', 'c'),
    gapUs: fc.constantFrom(0, 0, 1, 20, 400),
    leftUs: fc.constantFrom(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, 5, 200, 1500),
  }),
  { minLength: 1, maxLength: 60 },
);

/** What an instance does that has room for one batch at a time, each of which takes `batchUs`. */
class Instance {
  readonly begun: { atUs: number; tasks: Keyed[] }[] = [];
  readonly polled: { atUs: number; key: string; tasks: Keyed[]; running: number }[] = [];
  private groups = new Map<string, Keyed[]>();
  private readonly rules: BatchRules;

  constructor(rules: BatchRules) {
    this.rules = rules;
  }

  get lists(): Keyed[][] {
    return [...this.groups.values()];
  }

  add(task: Keyed): void {
    this.groups.set(task.key, [...(this.groups.get(task.key) ?? []), task]);
  }

  private take(key: string, count: number): Keyed[] {
    const group = this.groups.get(key)!;
    const taken = group.splice(0, count);
    if (group.length === 0) this.groups.delete(key);
    return taken;
  }

  /** Begins a batch if one is due; answers when to look again. */
  look(nowUs: number): { key: string; count: number } | number {
    const keys = [...this.groups.keys()];
    const decision = decideBatch(this.lists, this.rules, nowUs);
    if ('lookAtUs' in decision) return decision.lookAtUs;
    const key = keys[decision.group]!;
    this.begun.push({ atUs: nowUs, tasks: this.take(key, decision.count) });
    return { key, count: decision.count };
  }

  poll(key: string, running: number, nowUs: number): Keyed[] {
    const own = [...this.groups.keys()].indexOf(key);
    if (own < 0) return [];
    const count = joinCount(this.lists, own, this.rules.size - running, this.rules, nowUs);
    const tasks = this.take(key, count);
    this.polled.push({ atUs: nowUs, key, tasks, running });
    return tasks;
  }
}

// Plays arrivals against one instance in virtual time. `batchUs`: how long a batch takes; 0: there is always room.
function play(rules: BatchRules, input: { key: string; gapUs: number; leftUs: number }[], batchUs: number) {
  const instance = new Instance(rules);
  let nowUs = 0;
  const tasks = input.map(({ key, gapUs, leftUs }, order): Keyed => {
    nowUs += gapUs;
    return { key, order, sinceUs: nowUs, deadlineUs: nowUs + leftUs };
  });
  let freeAtUs = 0;
  let next = 0;
  nowUs = 0;
  for (let turn = 0; turn < 10_000; turn++) {
    while (next < tasks.length && tasks[next]!.sinceUs <= nowUs) instance.add(tasks[next++]!);
    let lookAtUs = Number.POSITIVE_INFINITY;
    while (freeAtUs <= nowUs) {
      const answer = instance.look(nowUs);
      if (typeof answer === 'number') {
        lookAtUs = answer;
        break;
      }
      if (batchUs > 0) freeAtUs = nowUs + batchUs;
    }
    if (freeAtUs > nowUs) lookAtUs = freeAtUs;
    const arrivesUs = tasks[next]?.sinceUs ?? Number.POSITIVE_INFINITY;
    const thenUs = Math.min(lookAtUs, arrivesUs);
    if (thenUs === Number.POSITIVE_INFINITY) return { instance, tasks };
    if (thenUs <= nowUs) throw new Error('it looks again without waiting');
    nowUs = thenUs;
  }
  throw new Error('it does not end');
}

const check = (batchUs: number, property: (played: ReturnType<typeof play>, rules: BatchRules) => void) =>
  fc.assert(
    fc.property(rules, arrivals, (rules, input) => property(play(rules, input, batchUs), rules)),
    { seed: 15, numRuns: 500 },
  );

for (const batchUs of [0, 70, 5000]) {
  void t.test(`batches that take ${batchUs} us have one key, their size, and the order of arrival`, async (t) => {
    check(batchUs, ({ instance, tasks }, { size }) => {
      const last = new Map<string, number>();
      let count = 0;
      for (const { tasks } of instance.begun) {
        if (tasks.length === 0 || tasks.length > size) throw new Error(`a batch of ${tasks.length}`);
        if (tasks.some(({ key }) => key !== tasks[0]!.key)) throw new Error('two keys');
        for (const { key, order } of tasks) {
          if (order <= (last.get(key) ?? -1)) throw new Error('one overtook another of its key');
          last.set(key, order);
        }
        count += tasks.length;
      }
      if (count !== tasks.length) throw new Error(`${count} of ${tasks.length} tasks began`);
    });
    t.pass('500 plays');
  });
}

void t.test('with room, no task waits longer than it may, nor past its latest start', async (t) => {
  check(0, ({ instance }, { waitUs, neededUs }) => {
    for (const { atUs, tasks } of instance.begun) {
      for (const { sinceUs, deadlineUs } of tasks) {
        if (atUs > sinceUs + waitUs) throw new Error('it waited too long');
        // One that came too late for its deadline begins at once.
        if (atUs > Math.max(sinceUs, deadlineUs - neededUs)) throw new Error('it began too late for its deadline');
      }
    }
  });
  t.pass('500 plays');
});

void t.test('with room, a batch that is not full began because one of its tasks could not wait', async (t) => {
  check(0, ({ instance }, rules) => {
    for (const { atUs, tasks } of instance.begun) {
      if (tasks.length < rules.size && atUs < dueAtUs(tasks, rules)) throw new Error('it began too early');
    }
  });
  t.pass('500 plays');
});

void t.test('a task is overtaken by other keys at most while it may still wait for company', async (t) => {
  check(70, ({ instance }, rules) => {
    for (const { atUs, tasks } of instance.begun) {
      for (const other of instance.begun) {
        if (other.atUs >= atUs || other.tasks[0]!.order < tasks[0]!.order) continue;
        // A later task's batch began before this one's: this one was not due then.
        const [first] = tasks;
        if (other.atUs >= first!.sinceUs + rules.waitUs) throw new Error('a younger key began first');
      }
    }
  });
  t.pass('500 plays');
});

void t.test('a running batch takes up tasks of its key, as many as are free, and none past a due one', async (t) => {
  fc.assert(
    fc.property(rules, arrivals, fc.integer({ min: 0, max: 8 }), fc.nat(2000), (rules, input, running, laterUs) => {
      const instance = new Instance(rules);
      let nowUs = 0;
      const tasks = input.map(({ key, gapUs, leftUs }, order): Keyed => {
        nowUs += gapUs;
        return { key, order, sinceUs: nowUs, deadlineUs: nowUs + leftUs };
      });
      for (const task of tasks) instance.add(task);
      nowUs += laterUs;
      const free = rules.size - Math.min(running, rules.size);
      const others = instance.lists.filter((list) => list[0]!.key !== 'a' && dueAtUs(list, rules) <= nowUs);
      const before = Math.min(Number.POSITIVE_INFINITY, ...others.map((list) => list[0]!.order));
      const expected = tasks.filter(({ key, order }) => key === 'a' && order < before).slice(0, free);
      const polled = instance.poll('a', rules.size - free, nowUs);
      if (polled.map(({ order }) => order).join() !== expected.map(({ order }) => order).join()) {
        throw new Error(`took ${polled.length}, not ${expected.length}`);
      }
    }),
    { seed: 16, numRuns: 1000 },
  );
  t.pass('1000 polls');
});

void t.test('decisions by example', async (t) => {
  const task = (order: number, sinceUs: number, deadlineUs = Number.POSITIVE_INFINITY): WaitingTask => ({
    order,
    sinceUs,
    deadlineUs,
  });
  const rules = { size: 3, waitUs: 100, neededUs: 40 };
  const decide = (groups: WaitingGroup[], nowUs: number) => decideBatch(groups, rules, nowUs);
  t.same(decide([], 5), { lookAtUs: Number.POSITIVE_INFINITY }, 'nothing waits');
  t.same(decide([[task(0, 0)]], 5), { lookAtUs: 100 }, 'it waits for company');
  t.same(decide([[task(0, 0)]], 100), { group: 0, count: 1 }, 'long enough');
  t.same(decide([[task(0, 0), task(1, 1), task(2, 2)]], 5), { group: 0, count: 3 }, 'full');
  t.same(decide([[task(0, 0), task(1, 1, 90)]], 5), { lookAtUs: 50 }, 'the deadline of another one counts');
  t.same(decide([[task(0, 0), task(1, 1, 90)]], 50), { group: 0, count: 2 });
  t.same(decide([[task(3, 60)], [task(1, 10), task(2, 20)]], 200), { group: 1, count: 2 }, 'the older key begins');
  t.same(
    decide([[task(0, 60)], [task(1, 70), task(2, 71), task(3, 72)]], 80),
    { group: 1, count: 3 },
    'a full one does not wait for an older one that may still wait',
  );
});
