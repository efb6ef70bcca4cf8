// Proves that safetensors are read exactly and refused where they are not whole, and that we read again what we write.
import fc from 'fast-check';
import t from 'tap';
import { isRdmaError } from '../../src/ts/core/errors.js';
import { tensor } from '../../src/ts/pipeline/index.js';
import { decodeSafetensors, encodeSafetensors } from '../../src/ts/serve/safetensors.js';
import { plain, tensors, unaligned } from './tensors.js';

/** A file with this header. */
function file(header: unknown, data: readonly number[] = [], headerBytes?: number): Buffer {
  const text = typeof header === 'string' ? header : JSON.stringify(header);
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(headerBytes ?? Buffer.byteLength(text)));
  return Buffer.concat([head, Buffer.from(text), Buffer.from(data)]);
}

const u8 = (begin: number, end: number) => ({ dtype: 'U8', shape: [end - begin], data_offsets: [begin, end] });
const names = fc.string({ maxLength: 10, unit: 'grapheme' }).filter((name) => name !== '__metadata__');
const files = fc.record({
  tensors: fc.dictionary(names, tensors(), { maxKeys: 6 }),
  metadata: fc.dictionary(fc.string({ maxLength: 5 }), fc.string(), { maxKeys: 3 }),
});

void t.test('whatever is written is read again, wherever the bytes lie', async (t) => {
  fc.assert(
    fc.property(files, (source) => {
      const read = decodeSafetensors(unaligned(Buffer.concat(encodeSafetensors(source))));
      t.strictSame(Object.keys(read.tensors).sort(), Object.keys(source.tensors).sort());
      for (const [name, part] of Object.entries(source.tensors)) t.strictSame(plain(read.tensors[name]!), plain(part));
      t.strictSame({ ...read.metadata }, { ...source.metadata });
    }),
  );
});

void t.test('the bytes are those of the format, with wider elements first', async (t) => {
  const source = { a: tensor('u8', [1], Uint8Array.of(7)), b: tensor('f32', [1], Float32Array.of(1)) };
  const written = Buffer.concat(encodeSafetensors({ tensors: source, metadata: {} }));
  const header =
    '{"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[1],"data_offsets":[4,5]}}';
  const padded = header.padEnd(Math.ceil(header.length / 8) * 8, ' ');
  t.equal(written.readBigUInt64LE(0), BigInt(padded.length));
  t.equal(written.toString('latin1', 8, 8 + padded.length), padded);
  t.equal(written.toString('hex', 8 + padded.length), '0000803f07');
});

void t.test('what is not a whole file is refused with words', async (t) => {
  const cases: [Uint8Array, RegExp][] = [
    [Buffer.alloc(7), /shorter than 8 bytes/],
    [file('{}', [], 3), /shorter than its header/],
    [file('{}', [], 2 ** 31), /its header has 2147483648 bytes/],
    [file('{]'), /not JSON/],
    [file(' {}'), /not a JSON object/],
    [file('[]'), /not a JSON object/],
    [file('\ufeff{}'), /not a JSON object/],
    [file({ a: u8(0, 1) }, [1, 2]), /take 1 bytes of 2/],
    [file({ a: u8(0, 2) }, [1]), /take 2 bytes of 1/],
    [file({ a: u8(1, 2) }, [1, 2]), /do not follow each other/],
    [file({ a: u8(0, 2), b: u8(1, 3) }, [1, 2, 3]), /do not follow each other/],
    [file({ a: { ...u8(0, 1), data_offsets: [1, 0] } }, [1]), /do not follow each other/],
    [file({ a: { ...u8(0, 2), shape: [3] } }, [1, 2]), /has 2 bytes, not the 3/],
    [file({ a: { ...u8(0, 1), shape: [-1] } }, [1]), /shape/],
    [file({ a: { ...u8(0, 1), shape: ['1'] } }, [1]), /shape/],
    [file({ a: { ...u8(0, 1), shape: [1, 1, 1, 1, 1, 1, 1, 1, 1] } }, [1]), /shape/],
    [file({ a: { ...u8(0, 1), dtype: 'U7' } }, [1]), /unknown dtype/],
    [file({ a: { ...u8(0, 1), data_offsets: [0, 1, 2] } }, [1]), /offsets/],
    [file({ a: 1 }, []), /not described/],
    [file({ __metadata__: { a: 1 } }), /metadata is not text/],
    [file({ __metadata__: [] }), /metadata is not an object/],
    [file(Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`t${i}`, u8(0, 0)]))), /65 tensors; at most 64/],
  ];
  for (const [input, message] of cases) {
    t.throws(() => decodeSafetensors(input), { code: 'RDMA_ERR_INVALID_ARGUMENT', message });
  }
});

void t.test('a name like a property of objects is a name', async (t) => {
  const { tensors } = decodeSafetensors(file('{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', [5]));
  t.strictSame(Object.keys(tensors), ['__proto__']);
  t.strictSame(decodeSafetensors(file({}, [])).tensors, Object.create(null));
});

void t.test('no damage to a file does anything but be refused or be another whole file', async (t) => {
  fc.assert(
    fc.property(files, fc.nat(), fc.nat({ max: 255 }), fc.boolean(), (source, at, value, cut) => {
      const whole = Buffer.concat(encodeSafetensors(source));
      const damaged = cut ? whole.subarray(0, at % whole.length) : Buffer.from(whole);
      if (!cut) damaged[at % whole.length] = value;
      try {
        decodeSafetensors(damaged);
      } catch (error) {
        if (!isRdmaError(error) || error.code !== 'RDMA_ERR_INVALID_ARGUMENT') throw error;
      }
    }),
    { numRuns: 500 },
  );
  t.pass('500 damaged files');
});
