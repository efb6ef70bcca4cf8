// Proves that .npy files are read as NumPy means them and refused where they are not whole, and that we write the same
// bytes as NumPy.
import fc from 'fast-check';
import t from 'tap';
import { isRdmaError } from '../../src/ts/core/errors.js';
import { DTYPES, type Dtype, tensor } from '../../src/ts/pipeline/index.js';
import { decodeNpy, encodeNpy } from '../../src/ts/serve/npy.js';
import { plain, tensors, unaligned } from './tensors.js';

const KNOWN = DTYPES.filter((dtype) => !['bf16', 'f8e4m3', 'f8e5m2'].includes(dtype));
const write = (source: Parameters<typeof encodeNpy>[0]) => Buffer.concat(encodeNpy(source));

/** A file with this header, as NumPy pads it. */
function file(header: string, data: Uint8Array, version = 1): Buffer {
  const begin = version === 1 ? 10 : 12;
  const text = header.padEnd(Math.ceil((begin + header.length + 1) / 64) * 64 - begin - 1, ' ');
  const head = Buffer.alloc(begin);
  head.write('\x93NUMPY', 'latin1');
  head[6] = version;
  if (version === 1) head.writeUInt16LE(text.length + 1, 8);
  else head.writeUInt32LE(text.length + 1, 8);
  return Buffer.concat([head, Buffer.from(`${text}\n`, 'latin1'), data]);
}

const bytes = (...list: number[]) => Uint8Array.from(list);

void t.test('whatever is written is read again, wherever the bytes lie', async () => {
  fc.assert(
    fc.property(tensors(KNOWN), (source) => {
      const read = decodeNpy(unaligned(write(source)));
      t.strictSame(plain(read), plain(source));
    }),
  );
});

void t.test('the bytes are those that numpy.save writes', async (t) => {
  const source = tensor('f32', [2, 1], Float32Array.of(1, -2));
  const text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }";
  const head = `\x93NUMPY\x01\x00\x76\x00${text.padEnd(117, ' ')}\n`;
  t.equal(write(source).toString('hex'), `${Buffer.from(head, 'latin1').toString('hex')}0000803f000000c0`);
  t.match(write(tensor('u8', [3], bytes(1, 2, 3))).toString('latin1'), /'shape': \(3,\), }/);
  t.match(write(tensor('u8', [], bytes(1))).toString('latin1'), /'shape': \(\), }/);
});

void t.test('headers of every version and order of keys are understood', async (t) => {
  const forms = [
    file("{'descr': '<u2', 'fortran_order': False, 'shape': (2,), }", bytes(1, 0, 2, 0)),
    file("{'shape': (2,), 'fortran_order': False, 'descr': '<u2'}", bytes(1, 0, 2, 0), 2),
    file("{'descr':'>u2','shape':(2,),'fortran_order':False}", bytes(0, 1, 0, 2), 3),
    file("{'descr': '=u2', 'fortran_order': True, 'shape': ( 2 , ), }", bytes(1, 0, 2, 0)),
  ];
  for (const form of forms) t.strictSame(decodeNpy(form), tensor('u16', [2], Uint16Array.of(1, 2)));
  t.strictSame(decodeNpy(file("{'descr': '|b1', 'fortran_order': False, 'shape': (), }", bytes(1))).shape, []);
});

void t.test('what is not a whole array of a known kind is refused with words', async (t) => {
  const good = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }";
  const cases: [Uint8Array, RegExp][] = [
    [bytes(), /is no \.npy file/],
    [Buffer.from('\x93NUMPX\x01\x00\x00\x00', 'latin1'), /is no \.npy file/],
    [Buffer.from('\x93NUMPY\x04\x00\x00\x00', 'latin1'), /version 4\.0/],
    [Buffer.from('\x93NUMPY\x01\x00\xff\x00', 'latin1'), /cut short/],
    [Buffer.from('\x93NUMPY\x02\x00\xff\xff\xff\x7f', 'latin1'), /the header of .* has 2147483647 bytes/],
    [file(good, bytes(0, 0, 0)), /has 3 bytes, not the 4/],
    [file(good, bytes(0, 0, 0, 0, 0)), /has 5 bytes/],
    [file(good.replace('<f4', '|O'), bytes()), /elements \|O/],
    [file(good.replace('<f4', '<c8'), bytes()), /elements <c8/],
    [file(good.replace('<f4', '<U5'), bytes()), /elements <U5/],
    [file(good.replace('False', 'True').replace('(1,)', '(1, 1)'), bytes(0, 0, 0, 0)), /Fortran's order/],
    [file("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", bytes(0, 0, 0, 0)), /header/],
    [file("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", bytes(0, 0, 0, 0)), /header/],
    [file("{'descr': '<f4', 'fortran_order': False}", bytes(0, 0, 0, 0)), /header/],
    [file("{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", bytes(0, 0, 0, 0)), /header/],
    [file("{'descr': '<f4', 'fortran_order': False, 'shape': (1)}", bytes(0, 0, 0, 0)), /header/],
    [file("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", bytes(0, 0, 0, 0)), /header/],
    [file("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}; x", bytes(0, 0, 0, 0)), /header/],
    [file("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}", bytes(0, 0, 0, 0)), /shape/],
    [file("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999)}", bytes()), /shape/],
  ];
  for (const [input, words] of cases)
    t.throws(() => decodeNpy(input), { code: 'RDMA_ERR_INVALID_ARGUMENT', message: words });
  for (const dtype of ['bf16', 'f8e4m3'] as Dtype[]) {
    const data = dtype === 'bf16' ? new Uint16Array(1) : new Uint8Array(1);
    t.throws(() => encodeNpy({ dtype, shape: [1], data }), { code: 'RDMA_ERR_NOT_SUPPORTED' });
  }
});

void t.test('no damage to a file does anything but be refused or be another whole array', async () => {
  fc.assert(
    fc.property(tensors(KNOWN), fc.nat(), fc.nat({ max: 255 }), fc.boolean(), (source, at, value, cut) => {
      const whole = write(source);
      const damaged = cut ? whole.subarray(0, at % whole.length) : Buffer.from(whole);
      if (!cut) damaged[at % whole.length] = value;
      try {
        decodeNpy(damaged);
      } catch (error) {
        if (!isRdmaError(error) || error.code !== 'RDMA_ERR_INVALID_ARGUMENT') throw error;
      }
    }),
    { numRuns: 500 },
  );
  t.pass('500 damaged files');
});
