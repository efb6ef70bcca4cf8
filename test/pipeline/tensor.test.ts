// Proves that a tensor is made only of a dtype, a shape and data that agree, for every dtype and arrays of any realm.
import vm from 'node:vm';
import t from 'tap';
import {
  bytesOf,
  checkTensor,
  copyTensor,
  DTYPES,
  type Dtype,
  dtypeCode,
  dtypeOfCode,
  elementBytes,
  elementBytesOfCode,
  elementCount,
  type Float16Data,
  tensor,
  viewTensor,
} from '../../src/ts/pipeline/tensor.js';

const INVALID = { code: 'RDMA_ERR_INVALID_ARGUMENT' };

// ECMA-262's typed array for each dtype, and its bytes an element, written down independently of the source.
const EXPECTED: Record<Dtype, [string, number]> = {
  u8: ['Uint8Array', 1],
  i8: ['Int8Array', 1],
  u16: ['Uint16Array', 2],
  i16: ['Int16Array', 2],
  u32: ['Uint32Array', 4],
  i32: ['Int32Array', 4],
  u64: ['BigUint64Array', 8],
  i64: ['BigInt64Array', 8],
  f16: ['Uint16Array', 2],
  bf16: ['Uint16Array', 2],
  f32: ['Float32Array', 4],
  f64: ['Float64Array', 8],
  bool: ['Uint8Array', 1],
  f8e4m3: ['Uint8Array', 1],
  f8e5m2: ['Uint8Array', 1],
};
const KINDS = [...new Set([...Object.values(EXPECTED).map(([kind]) => kind), 'Uint8ClampedArray'])];

type Maker = new (count: number) => never;
const here = (kind: string, count: number) => new (globalThis as unknown as Record<string, Maker>)[kind]!(count);
const elsewhere = (kind: string, count: number) => vm.runInNewContext(`new ${kind}(${count})`) as never;

void t.test('every dtype has its array, its size and its number', async (t) => {
  t.same([...DTYPES].sort(), Object.keys(EXPECTED).sort());
  for (const dtype of DTYPES) {
    const [kind, size] = EXPECTED[dtype];
    t.equal(elementBytes(dtype), size);
    t.equal(elementBytesOfCode(dtypeCode(dtype)), size);
    t.equal(dtypeOfCode(dtypeCode(dtype)), dtype);
    const view = viewTensor(dtype, [2, 3], new ArrayBuffer(8 + 6 * size), 8);
    t.equal(view.data[Symbol.toStringTag], kind);
    t.same([view.data.length, view.data.byteOffset, view.data.BYTES_PER_ELEMENT], [6, 8, size]);
  }
  // What is on the wire does not change with a release.
  t.same(
    [dtypeCode('u8'), dtypeCode('f64'), dtypeCode('bool'), dtypeCode('f8e4m3'), dtypeCode('f8e5m2')],
    [0, 11, 12, 13, 14],
  );
  t.equal(dtypeOfCode(DTYPES.length), undefined);
});

void t.test('a tensor of every dtype takes its array and no other, of this realm and of another', async (t) => {
  for (const dtype of DTYPES) {
    const [kind] = EXPECTED[dtype];
    for (const other of KINDS) {
      const isBytes = kind === 'Uint8Array' && other === 'Uint8ClampedArray';
      for (const make of [here, elsewhere]) {
        const data = make(other, 6);
        if (other === kind || isBytes) t.same(tensor(dtype, [2, 3], data), { dtype, shape: [2, 3], data });
        else t.throws(() => tensor(dtype, [2, 3], data), INVALID, `${dtype} of ${other}`);
      }
    }
  }
});

void t.test('a Buffer and a subarray are as good as an array', async (t) => {
  const whole = Uint8Array.of(1, 2, 3, 4);
  t.same([...bytesOf(tensor('u8', [2], whole.subarray(1, 3)))], [2, 3]);
  t.same([...bytesOf(tensor('bool', [3], Buffer.from([1, 0, 1])))], [1, 0, 1]);
  const words = Uint32Array.of(0x04030201, 0x08070605);
  t.same([...bytesOf(tensor('u32', [1], words.subarray(1)))], [5, 6, 7, 8]);
});

void t.test('a shape has up to 8 dimensions, which may be 0, and as many elements as the data', async (t) => {
  t.same(tensor('f32', [3, 0, 2], new Float32Array(0)).shape, [3, 0, 2]);
  t.same(tensor('u8', [], Uint8Array.of(7)).shape, [], 'a number alone');
  t.same([elementCount([]), elementCount([0]), elementCount([0, 5]), elementCount([2, 3, 4])], [1, 0, 0, 24]);
  t.equal(elementCount([1, 1, 1, 1, 1, 1, 1, 1]), 1);
  for (const shape of [[1, 1, 1, 1, 1, 1, 1, 1, 1], [-1], [1.5], [Number.NaN], [2 ** 30, 2 ** 30], ['1']]) {
    t.ok(Number.isNaN(elementCount(shape as number[])), JSON.stringify(shape));
  }
  for (const shape of [undefined, 'x', 1, [-1], [1.5], [2], [0], [1, 1, 1, 1, 1, 1, 1, 1, 1], Uint8Array.of(1)]) {
    t.throws(() => tensor('u8', shape as never, new Uint8Array(1)), INVALID, String(shape));
  }
});

void t.test('the words for a wrong shape say what is wrong with it', async (t) => {
  const words = (shape: unknown) => {
    try {
      tensor('u8', shape as number[], new Uint8Array(1));
    } catch (error) {
      return (error as Error).message;
    }
    return 'taken';
  };
  t.match(words(Array(9).fill(1)), /has 9 dimensions; at most 8 \(/);
  t.match(words(Array(100_000).fill(1)), /^.{0,200}, \.\.\.\] has 100000 dimensions/);
  for (const shape of [[-1], [1.5], ['1'], [Symbol('x')], [null]])
    t.match(words(shape), /is none \(a dimension is an integer/);
  t.match(words([2]), /of shape \[2\] does not have the 1 elements of its data/);
});

void t.test('f16 takes a Float16Array, where there is one, and a receiver sees its bits', async (t) => {
  const { Float16Array: Half } = globalThis as { Float16Array?: new (values: number[]) => Float16Data };
  if (Half === undefined) {
    // As the constructor of a later JavaScript would make it.
    const bits = Uint16Array.of(0x3c00, 0xc000);
    Object.defineProperty(bits, Symbol.toStringTag, { value: 'Float16Array' });
    t.same([...bytesOf(tensor('f16', [2], bits as unknown as Float16Data))], [0, 0x3c, 0, 0xc0]);
    return;
  }
  t.same([...bytesOf(tensor('f16', [2], new Half([1, -2])))], [0, 0x3c, 0, 0xc0]);
  t.throws(() => tensor('bf16', [1], new Half([1])), INVALID);
});

void t.test('what is no tensor is refused by name', async (t) => {
  for (const dtype of ['f31', 'toString', '__proto__', 'U8', undefined, null, 5, {}]) {
    t.throws(() => tensor(dtype as never, [1], new Uint8Array(1)), INVALID, String(dtype));
  }
  for (const data of [undefined, null, 'x', [1], new ArrayBuffer(1), new DataView(new ArrayBuffer(1)), {}]) {
    t.throws(() => tensor('u8', [1], data as never), INVALID, String(data));
  }
  for (const value of [undefined, null, 5, 'x', [], {}, new Uint8Array(1)]) {
    t.throws(() => checkTensor(value, 'mask'), { ...INVALID, message: /part mask/ });
  }
});

void t.test('a copy has memory of its own', async (t) => {
  for (const dtype of DTYPES) {
    const source = viewTensor(dtype, [4], new ArrayBuffer(16 + 4 * elementBytes(dtype)), 16);
    bytesOf(source).fill(1);
    const copy = copyTensor(source);
    bytesOf(source).fill(9);
    t.ok(bytesOf(copy).every((value) => value === 1));
    t.equal(copy.data.buffer.byteLength, 4 * elementBytes(dtype));
  }
});
