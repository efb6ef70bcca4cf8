// Proves: a newcomer always gets in, and whom it displaces is of the source that has most, and got no further for
// longest.
import t from 'tap';
import { PendingPool, sourceOf } from '../../src/ts/connect/pending-pool.js';

class Member {
  readonly name: string;
  private readonly gone: string[];

  constructor(name: string, gone: string[]) {
    this.name = name;
    this.gone = gone;
  }

  giveWay(): void {
    this.gone.push(this.name);
  }
}

function scene(capacity: number) {
  const gone: string[] = [];
  const pool = new PendingPool<Member>(capacity);
  const come = (name: string, source: string) => {
    const member = new Member(name, gone);
    pool.add(member, source);
    return member;
  };
  return { pool, gone, come };
}

void t.test('of one source the one gives way that got no further for longest', async (t) => {
  const { pool, gone, come } = scene(3);
  const [first, second] = ['a', 'b', 'c'].map((name) => come(name, 'x'));
  t.equal(pool.size, 3);
  pool.progress(first!);
  come('d', 'x');
  t.same(gone, ['b']);
  pool.progress(second!);
  come('e', 'x');
  come('f', 'x');
  t.same(gone, ['b', 'c', 'a']);
  t.same(
    pool.members().map(({ name }) => name),
    ['d', 'e', 'f'],
  );
});

void t.test('who floods displaces its own', async (t) => {
  const { pool, gone, come } = scene(100);
  const honest = Array.from({ length: 20 }, (_, i) => come(`honest ${i}`, `host ${i % 10}`));
  for (let i = 0; i < 1000; i++) come(`flood ${i}`, 'flood');
  t.equal(pool.size, 100);
  t.equal(gone.length, 920);
  t.ok(gone.every((name) => name.startsWith('flood')));
  come('late', 'host 3');
  t.equal(gone.length, 921);
  t.ok(gone.at(-1)?.startsWith('flood'));
  for (const member of [...honest, ...honest]) pool.remove(member);
  t.equal(pool.size, 80);
  t.equal(gone.length, 921, 'who leaves gives way to nobody');
});

void t.test('as many sources as places: the first to come is the first to go', async (t) => {
  const { pool, gone, come } = scene(3);
  for (const name of ['a', 'b', 'c', 'd', 'e']) come(name, name);
  t.same(gone, ['a', 'b']);
  t.equal(pool.size, 3);
  const { pool: one, gone: left, come: enter } = scene(1);
  const last = ['a', 'b'].map((name) => enter(name, 'x')).at(-1);
  t.same(left, ['a']);
  one.remove(last!);
  t.equal(one.size, 0);
});

void t.test('any course of events keeps the bounds', async (t) => {
  const { pool, gone, come } = scene(7);
  let x = 1;
  const random = (below: number) => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return (x >>> 8) % below;
  };
  const inside = new Map<string, { member: Member; source: string }>();
  for (let i = 0; i < 5000; i++) {
    const names = [...inside.keys()];
    const act = random(4);
    const chosen = names[random(Math.max(1, names.length))];
    if (act === 0 && chosen !== undefined) {
      pool.remove(inside.get(chosen)!.member);
      inside.delete(chosen);
    } else if (act === 1 && chosen !== undefined) {
      pool.progress(inside.get(chosen)!.member);
    } else {
      const source = `s${random(4)}`;
      const counts = new Map<string, number>([[source, 1]]);
      for (const other of inside.values()) counts.set(other.source, (counts.get(other.source) ?? 0) + 1);
      const before = gone.length;
      inside.set(`${i}`, { member: come(`${i}`, source), source });
      if (gone.length === before) continue;
      if (gone.length !== before + 1) t.fail('more than one gave way');
      const loser = inside.get(gone.at(-1)!)!;
      inside.delete(gone.at(-1)!);
      if (counts.get(loser.source) !== Math.max(...counts.values())) t.fail(`${loser.source} had not the most`);
    }
    if (pool.size !== inside.size || pool.size > 7) t.fail(`${pool.size} are in, of ${inside.size}`);
  }
  t.ok(gone.length > 1000);
});

void t.test('a source is an address, or a network of IPv6', async (t) => {
  const same: [string, string][] = [
    ['::ffff:10.1.2.3', '10.1.2.3'],
    ['127.0.0.1', '127.9.8.7'],
    ['2001:db8:0:1::1', '2001:0db8:0000:0001:ffff:ffff:ffff:ffff'],
    ['fe80::1%eth0', 'fe80::2'],
    ['::1', '0:0:0:0:9::'],
  ];
  for (const [one, other] of same) t.equal(sourceOf(one), sourceOf(other), `${one} ${other}`);
  const different: [string, string][] = [
    ['10.1.2.3', '10.1.2.4'],
    ['2001:db8:0:1::1', '2001:db8:0:2::1'],
    ['1::', '::1'],
  ];
  for (const [one, other] of different) t.not(sourceOf(one), sourceOf(other), `${one} ${other}`);
});
