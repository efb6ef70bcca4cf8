// Proves that a block's checksum is the CRC-32C of RFC 3720, by the definition, bit by bit, whatever blocks came before
// it.
import fc from 'fast-check';
import t from 'tap';
import { BLOCK_WORDS, BlockChecksum, crc32cOfWords } from '../../src/ts/ring/crc32c.js';
import { crc32cOf } from '../../src/ts/verbs/index.js';

/** Bit by bit, from the definition. */
function naive(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

/** The bytes of a block, and of the word that is checked with it. */
const bytesOf = (words: Uint32Array, at = 0, more = 0) =>
  new Uint8Array(Uint32Array.from([...words.subarray(at, at + BLOCK_WORDS), more >>> 0]).buffer);

void t.test('the definition gives the checksums of RFC 3720, appendix B.4', async (t) => {
  const counting = Uint8Array.from({ length: 32 }, (_, i) => i);
  for (const [bytes, expected] of [
    [new Uint8Array(32), 0x8a9136aa],
    [new Uint8Array(32).fill(0xff), 0x62a8ab43],
    [counting, 0x46dd794e],
    [counting.slice().reverse(), 0x113fdb5c],
  ] as const) {
    t.equal(naive(bytes), expected);
    t.equal(crc32cOf(bytes), expected, 'and native code computes the same');
  }
});

void t.test('blocks of zeros, of ones, and with one bit in each place', async (t) => {
  const block = new BlockChecksum();
  const words = new Uint32Array(BLOCK_WORDS);
  t.equal(block.of(words, 0, 0) >>> 0, naive(bytesOf(words)), 'zeros, at first');
  words.fill(0xffffffff);
  t.equal(block.of(words, 0, 0) >>> 0, naive(bytesOf(words)), 'ones');
  let wrong = 0;
  for (let bit = 0; bit < BLOCK_WORDS * 32; bit++) {
    words.fill(0);
    words[bit >> 5] = (1 << (bit & 31)) >>> 0;
    if (block.of(words, 0, 0) >>> 0 !== naive(bytesOf(words))) wrong++;
  }
  t.equal(wrong, 0);
});

void t.test('equals the definition for any blocks, from any place, after any others', async (t) => {
  const block = new BlockChecksum();
  const word = fc.oneof(fc.nat(0xffffffff), fc.constantFrom(0, 1, 0x80000000, 0xffffffff));
  const change = fc.tuple(fc.nat(BLOCK_WORDS - 1), word);
  let last = new Uint32Array(BLOCK_WORDS);
  fc.assert(
    fc.property(
      fc.oneof(fc.array(word, { minLength: BLOCK_WORDS, maxLength: BLOCK_WORDS }), fc.array(change, { maxLength: 4 })),
      fc.nat(8),
      word,
      (what, at, more) => {
        const memory = new Uint32Array(at + BLOCK_WORDS + 1).fill(0xdeadbeef);
        // Another block, or the last one with some words changed.
        memory.set(last, at);
        for (const [i, each] of what.entries()) {
          if (typeof each === 'number') memory[at + i] = each;
          else memory[at + each[0]] = each[1];
        }
        last = memory.slice(at, at + BLOCK_WORDS);
        const right = block.of(memory, at, more | 0) >>> 0 === naive(bytesOf(memory, at, more));
        return right && last.every((each, i) => block.words[i]! >>> 0 === each);
      },
    ),
    { numRuns: 2000 },
  );
  t.pass('2000 blocks');
});

void t.test('words of any number have the checksum of their bytes', async (t) => {
  fc.assert(
    fc.property(fc.uint32Array({ maxLength: 260 }), fc.nat(5), (what, at) => {
      const memory = new Uint32Array(at + what.length + 2).fill(0xdeadbeef);
      memory.set(what, at);
      const bytes = new Uint8Array(memory.buffer, at * 4, what.length * 4);
      return crc32cOfWords(memory, at, what.length) >>> 0 === naive(bytes);
    }),
  );
  t.equal(crc32cOfWords(new Uint32Array(1), 0, 0), 0, 'no words');
});
