// Proves that crc32c is the CRC-32C of RFC 3720: by its vectors and by the definition, bit by bit.
import fc from 'fast-check';
import t from 'tap';
import { crc32c } from '../../src/ts/ring/crc32c.js';

function words(bytes: readonly number[]): Uint32Array {
  return new Uint32Array(Uint8Array.from(bytes).buffer);
}

/** Bit by bit, from the definition. */
function naive(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

void t.test('gives the checksums of RFC 3720, appendix B.4', async (t) => {
  const counting = Array.from({ length: 32 }, (_, i) => i);
  t.equal(crc32c(words(new Array<number>(32).fill(0)), 0, 8) >>> 0, 0x8a9136aa, '32 bytes of zeros');
  t.equal(crc32c(words(new Array<number>(32).fill(0xff)), 0, 8) >>> 0, 0x62a8ab43, '32 bytes of ones');
  t.equal(crc32c(words(counting), 0, 8) >>> 0, 0x46dd794e, '0 to 31');
  t.equal(crc32c(words([...counting].reverse()), 0, 8) >>> 0, 0x113fdb5c, '31 to 0');
});

void t.test('equals the definition for any words, from any place', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.nat(0xffffffff), { maxLength: 40 }), fc.nat(8), (list, begin) => {
      const memory = Uint32Array.from([...new Array<number>(begin).fill(0xdeadbeef), ...list]);
      const bytes = new Uint8Array(memory.buffer, begin * 4);
      return crc32c(memory, begin, list.length) >>> 0 === naive(bytes);
    }),
    { numRuns: 300 },
  );
  t.pass('300 runs');
});
