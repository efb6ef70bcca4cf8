// Proves that memory is given back, and its owner told, once: when every receiver is known and has acknowledged.
import t from 'tap';
import { Custody } from '../../src/ts/pipeline/custody.js';
import type { Block } from '../../src/ts/ring/index.js';

function custodyOf(blocks = 2) {
  const seen = { released: new Array<number>(blocks).fill(0), settled: 0 };
  const list = seen.released.map((_, i) => ({ release: () => void seen.released[i]!++ })) as unknown as Block[];
  return { seen, custody: new Custody(list, () => void seen.settled++) };
}

void t.test('it ends with the last acknowledgement', async (t) => {
  const { seen, custody } = custodyOf();
  custody.sent();
  custody.sent();
  custody.allSent();
  custody.acknowledged();
  t.same(seen, { released: [0, 0], settled: 0 });
  custody.acknowledged();
  t.same(seen, { released: [1, 1], settled: 1 });
});

void t.test('acknowledgements that come before all receivers are known do not end it', async (t) => {
  const { seen, custody } = custodyOf();
  custody.sent();
  custody.acknowledged();
  t.same(seen, { released: [0, 0], settled: 0 });
  custody.sent();
  custody.allSent();
  t.equal(seen.settled, 0);
  custody.acknowledged();
  t.same(seen, { released: [1, 1], settled: 1 });
});

void t.test('without receivers it ends at once', async (t) => {
  const { seen, custody } = custodyOf(0);
  custody.allSent();
  t.same(seen, { released: [], settled: 1 });
});

void t.test('the blocks are back before the owner hears of it', async (t) => {
  const order: string[] = [];
  const block = { release: () => void order.push('released') } as unknown as Block;
  const custody = new Custody([block], () => void order.push('settled'));
  custody.allSent();
  t.same(order, ['released', 'settled']);
});

void t.test('after a failure the memory is kept for those that have it, and the owner hears nothing', async (t) => {
  const half = custodyOf();
  half.custody.sent();
  half.custody.fail();
  t.same(half.seen, { released: [0, 0], settled: 0 });
  half.custody.acknowledged();
  t.same(half.seen, { released: [1, 1], settled: 0 });
  const none = custodyOf();
  none.custody.fail();
  t.same(none.seen, { released: [1, 1], settled: 0 });
});
