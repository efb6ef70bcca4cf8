// Proves that metadata which is encoded decodes to the same value, and that what JSON would change is refused with its
// path.
import vm from 'node:vm';
import fc from 'fast-check';
import t from 'tap';
import { decodeMeta, encodeMeta, MAX_META_BYTES, type Meta } from '../../src/ts/pipeline/meta.js';

const INVALID = { code: 'RDMA_ERR_INVALID_ARGUMENT' };
class Point {
  x = 1;
}

void t.test('what JSON has arrives as it was', async (t) => {
  const key = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('__proto__', 'constructor', 'toString', ''));
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { depthSize: 'small' },
      fc.constant(null),
      fc.boolean(),
      fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => (number === 0 ? 0 : number)),
      fc.integer(),
      fc.string({ unit: 'binary' }),
      fc.array(tie('any'), { maxLength: 4 }),
      tie('object'),
    ),
    object: fc
      .array(fc.tuple(key, tie('any')), { maxLength: 4 })
      // Own properties, also of the name __proto__.
      .map((entries) => Object.fromEntries(entries)),
  }));
  fc.assert(
    fc.property(value.object, (meta) => {
      const back = decodeMeta(encodeMeta(meta));
      if (!isSame(meta, back)) throw new Error(`${JSON.stringify(back)} instead of ${JSON.stringify(meta)}`);
    }),
    { seed: 8, numRuns: 1000 },
  );
  t.pass('1000 values');
});

function isSame(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || a === null || typeof b !== 'object' || b === null) return Object.is(a, b);
  const keys = Object.keys(a);
  if (Array.isArray(a) !== Array.isArray(b) || keys.join('\0') !== Object.keys(b).join('\0')) return false;
  return keys.every((key) => isSame((a as Meta)[key], (b as Meta)[key]));
}

void t.test('an object without properties takes no bytes', async (t) => {
  for (const meta of [{}, { left: undefined }, Object.create(null)]) t.equal(encodeMeta(meta).length, 0);
  t.same(decodeMeta(new Uint8Array(0)), {});
  t.same(decodeMeta(Buffer.from('{}')), {});
});

void t.test('objects of another realm and without a prototype are plain', async (t) => {
  t.same(decodeMeta(encodeMeta(vm.runInNewContext('({ a: [1, { b: null }] })'))), { a: [1, { b: null }] });
  t.same(decodeMeta(encodeMeta(Object.assign(Object.create(null), { a: 1 }))), { a: 1 });
  const twice = { x: 1 };
  t.same(decodeMeta(encodeMeta({ a: twice, b: [twice, twice] })), { a: twice, b: [twice, twice] }, 'twice is no cycle');
});

void t.test('what JSON would change is refused with the path to it', async (t) => {
  const cycle: Meta = { a: {} };
  (cycle.a as Meta).back = cycle;
  const cases: [string, Meta, RegExp][] = [
    ['NaN', { a: { b: [0, Number.NaN] } }, /meta\.a\.b\[1\] is NaN/],
    ['Infinity', { a: -1 / 0 }, /meta\.a is -Infinity/],
    ['a Map', { a: new Map() }, /meta\.a is Map/],
    ['a Set', { a: [new Set()] }, /meta\.a\[0\] is Set/],
    ['a Date', { a: { at: new Date(0) } }, /meta\.a\.at is Date/],
    ['a typed array', { x: Float32Array.of(1) }, /meta\.x is Float32Array/],
    ['a Buffer', { x: Buffer.from('a') }, /meta\.x is Uint8Array/],
    ['a bigint', { x: 1n }, /meta\.x is bigint/],
    ['a function', { x: () => {} }, /meta\.x is function/],
    ['a symbol', { x: Symbol('a') }, /meta\.x is symbol/],
    ['a key that is a symbol', { x: { [Symbol('mark')]: 1 } }, /meta\.x has the property Symbol\(mark\)/],
    ['undefined in an array', { x: [1, undefined] }, /meta\.x\[1\] is undefined/],
    // biome-ignore lint/suspicious/noSparseArray: the hole is the case
    ['a hole', { x: [1, , 2] }, /meta\.x\[1\] is undefined/],
    ['more on an array', { x: Object.assign([1], { more: 2 }) }, /meta\.x has properties beside its elements/],
    ['an instance of a class', { x: [new Point()] }, /meta\.x\[0\] is Object/],
    ['boxed text', { x: new String('a') }, /meta\.x is String/],
    ['what shows itself as something else', { x: { toJSON: () => 1 } }, /meta\.x is Object/],
    ['an object that contains itself', cycle, /meta\.a\.back contains itself/],
    [
      'a getter that throws',
      {
        get x(): number {
          throw new Error('no');
        },
      },
      /not JSON/,
    ],
  ];
  for (const [name, meta, words] of cases) t.throws(() => encodeMeta(meta), { ...INVALID, message: words }, name);
  for (const meta of [undefined, null, 5, 'x', [], [1], new Date(0), new Point(), new Map(), () => ({}), Symbol('a')]) {
    t.throws(() => encodeMeta(meta), { ...INVALID, message: /plain object/ }, String(meta));
  }
});

void t.test('what is nested too deeply is an error, not the end of the process', async (t) => {
  let deep: Meta = {};
  for (let i = 0; i < 100_000; i++) deep = { deep };
  t.throws(() => encodeMeta(deep), INVALID);
});

void t.test('metadata has at most 1 MiB, counted in bytes', async (t) => {
  const room = MAX_META_BYTES - '{"a":""}'.length;
  t.equal(encodeMeta({ a: 'x'.repeat(room) }).length, MAX_META_BYTES);
  t.throws(() => encodeMeta({ a: 'x'.repeat(room + 1) }), { code: 'RDMA_ERR_MESSAGE_TOO_LARGE' });
  t.throws(() => encodeMeta({ a: 'é'.repeat(room / 2 + 1) }), { code: 'RDMA_ERR_MESSAGE_TOO_LARGE' });
});

void t.test('bytes that are no JSON object are refused', async (t) => {
  const texts = ['x', '[]', '5', 'null', '"x"', '{', '{"a":1}x', '\u0000'];
  const bytes = [...texts.map((text) => Buffer.from(text)), Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d)];
  for (const bad of bytes) t.throws(() => decodeMeta(bad), { code: 'RDMA_ERR_PROTOCOL' }, bad.toString());
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (noise) => {
      try {
        const meta = decodeMeta(noise);
        if (typeof meta !== 'object' || meta === null) throw new Error('no object');
      } catch (error) {
        if ((error as { code?: string }).code !== 'RDMA_ERR_PROTOCOL') throw error;
      }
    }),
    { seed: 9, numRuns: 2000 },
  );
});
