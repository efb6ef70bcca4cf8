import t from 'tap';
import { wave } from '../../src/ts/demo/curves.js';
import { hashText, mix32, Random } from '../../src/ts/demo/random.js';

void t.test('equal seed words repeat the sequence, and any other word changes it', async (t) => {
  const take = (...words: number[]): number[] => {
    const random = new Random(...words);
    return Array.from({ length: 8 }, () => random.uint32());
  };
  t.same(take(1, 2), take(1, 2));
  for (const other of [[2, 1], [1], [1, 2, 0], [1, 2 + 2 ** 32], [0, 0]]) t.notSame(take(...other), take(1, 2));
});

void t.test('the sequence of a known seed is fixed for ever', async (t) => {
  const random = new Random(42);
  t.same([random.uint32(), random.uint32(), random.uint32()], [1174606147, 3962971151, 3258041090]);
});

void t.test('floats and gaussians have the moments they promise', async (t) => {
  const random = new Random(7);
  const count = 20_000;
  let uniform = 0;
  let mean = 0;
  let square = 0;
  let low = 1;
  let high = 0;
  for (let i = 0; i < count; i++) {
    const f = random.float();
    uniform += f / count;
    low = Math.min(low, f);
    high = Math.max(high, f);
    const g = random.gaussian();
    mean += g / count;
    square += (g * g) / count;
  }
  t.ok(low >= 0 && high < 1);
  t.ok(Math.abs(uniform - 0.5) < 0.01);
  t.ok(Math.abs(mean) < 0.03);
  t.ok(Math.abs(square - 1) < 0.04);
});

void t.test('text hashes depend on every unit, on the order and on the salt', async (t) => {
  t.not(hashText('ab', 1), hashText('ba', 1));
  t.not(hashText('a', 1), hashText('a', 2));
  t.not(hashText('', 1), hashText('\0', 1));
  t.not(hashText('\ud800', 1), hashText('\ud801', 1), 'lone surrogates count too');
  t.not(mix32(0), mix32(1));
});

void t.test('wave stays within 0.002 of a sine', async (t) => {
  let worst = 0;
  for (let i = -300; i < 300; i++) worst = Math.max(worst, Math.abs(wave(i / 97) - Math.sin((i / 97) * 2 * Math.PI)));
  t.ok(worst < 0.002, String(worst));
});
