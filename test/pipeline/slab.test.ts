import t from 'tap';
import { Slab } from '../../src/ts/pipeline/slab.js';

const filled = (length: number, value: number) => new Uint8Array(length).fill(value);

void t.test('copies are aligned, of their own, and stay as they are', (t) => {
  const slab = new Slab();
  const lengths = [0, 1, 63, 64, 65, 500, 2048, 8192, 8193, 100_000];
  const copies: { copy: Uint8Array; length: number; value: number }[] = [];
  for (let round = 0; round < 40; round++) {
    for (const length of lengths) {
      const value = copies.length % 256;
      copies.push({ copy: slab.copy(filled(length, value)), length, value });
    }
  }
  for (const { copy, length, value } of copies) {
    if (copy.length !== length || copy.byteOffset % 64 !== 0) t.fail(`${copy.length} bytes at ${copy.byteOffset}`);
    if (!copy.every((byte) => byte === value)) t.fail(`a copy of ${length} bytes has changed`);
  }
  t.ok(new Set(copies.map(({ copy }) => copy.buffer)).size < 100, 'short ones share their memory');
  t.end();
});

void t.test('nobody takes a shared piece away from the other messages in it', (t) => {
  const slab = new Slab();
  const first = slab.copy(filled(16, 1));
  const second = slab.copy(filled(16, 2));
  t.equal(first.buffer, second.buffer);
  try {
    structuredClone(first, { transfer: [first.buffer as ArrayBuffer] });
  } catch {
    // Newer versions of Node.js refuse it, older ones copy.
  }
  t.same([...second], new Array(16).fill(2));
  t.end();
});
