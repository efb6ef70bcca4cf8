// Proves that what is encoded is decoded as it was, without a copy and aligned; that what cannot be decoded cannot be
// encoded; and that no bytes, cut or changed, make the decoder do anything but refuse or stay inside the message.
import fc from 'fast-check';
import t from 'tap';
import { decodeMessage, encodeMessage, MAX_HEAD_BYTES, MAX_PARTS, messageBytes } from '../../src/ts/pipeline/codec.js';
import { DTYPES, elementBytes, type Tensor, tensor, viewTensor } from '../../src/ts/pipeline/tensor.js';

const SEED = 20601;
const code = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return String((error as { code?: unknown }).code ?? error);
  }
  return 'ok';
};

function together(pieces: readonly Uint8Array[], offset = 0): Uint8Array {
  const whole = new Uint8Array(new ArrayBuffer(messageBytes(pieces) + offset), offset);
  whole.set(Buffer.concat(pieces));
  return whole;
}

const bitsOf = ({ data }: Tensor) => Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('hex');

const tensors = fc
  .record({
    dtype: fc.constantFrom(...DTYPES),
    shape: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 }),
    fill: fc.integer({ min: 0, max: 255 }),
    skip: fc.integer({ min: 0, max: 3 }),
  })
  .map(({ dtype, shape, fill, skip }) => {
    const count = shape.reduce((product, n) => product * n, 1);
    const size = elementBytes(dtype);
    const memory = new Uint8Array((count + skip) * size).map((_, i) => (i * 31 + fill) & 0xff);
    return viewTensor(dtype, shape, memory.buffer, skip * size);
  });
const names = fc.oneof(
  fc.string({ maxLength: 128 }),
  fc.constantFrom('__proto__', 'constructor', 'toString', '', '\ud800'),
);
const messages = fc.record({
  head: fc.jsonValue(),
  parts: fc.array(fc.tuple(names, tensors), { maxLength: 8 }).map((entries) => {
    const parts: Record<string, Tensor> = Object.create(null);
    for (const [name, part] of entries) parts[name] = part;
    return parts;
  }),
});

void t.test('what is encoded is decoded as it was, as aligned views of the message itself', async (t) => {
  fc.assert(
    fc.property(messages, ({ head, parts }) => {
      const whole = together(encodeMessage(head, parts));
      const back = decodeMessage(whole);
      if (JSON.stringify(back.head) !== JSON.stringify(head)) throw new Error('another head');
      if (Object.keys(back.parts).join() !== Object.keys(parts).join()) throw new Error('other names');
      for (const [name, part] of Object.entries(back.parts)) {
        const sent = parts[name]!;
        if (part.dtype !== sent.dtype || part.shape.join() !== sent.shape.join()) throw new Error('another form');
        if (part.data.constructor !== sent.data.constructor) throw new Error('another type');
        if (bitsOf(part) !== bitsOf(sent)) throw new Error('other values');
        if (part.data.buffer !== whole.buffer) throw new Error('a copy');
        if (part.data.byteOffset % 64 !== 0) throw new Error('unaligned');
      }
    }),
    { seed: SEED, numRuns: 400 },
  );
  t.pass('400 messages');
});

void t.test('encoding copies no tensor', async (t) => {
  const data = Float32Array.from([1, 2, 3]);
  const piece = encodeMessage({}, { x: tensor('f32', [3], data) }).at(-1);
  t.equal(piece?.buffer, data.buffer);
  t.equal(piece?.byteLength, 12);
});

void t.test('a message that is cut anywhere is refused, and so is one with bytes behind it', async (t) => {
  const parts = { a: tensor('f32', [3], Float32Array.of(1, 2, 3)), b: tensor('u8', [5], new Uint8Array(5)) };
  const whole = together(encodeMessage({ meta: { question: 'why' } }, parts));
  for (let length = 0; length < whole.byteLength; length++) {
    const got = code(() => decodeMessage(whole.slice(0, length)));
    if (got !== 'RDMA_ERR_PROTOCOL') t.fail(`cut to ${length} of ${whole.byteLength}: ${got}`);
  }
  t.equal(
    code(() => decodeMessage(together([whole, new Uint8Array(1)]))),
    'RDMA_ERR_PROTOCOL',
  );
  t.equal(
    code(() => decodeMessage(whole)),
    'ok',
  );
});

void t.test('changed bytes are refused or show only the message itself', async (t) => {
  const outcomes = { ok: 0, refused: 0 };
  const changes = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(messages, changes, fc.integer({ min: 0, max: 7 }), ({ head, parts }, edits, offset) => {
      const whole = together(encodeMessage(head, parts), offset);
      for (const [at, value] of edits) whole[at % whole.byteLength] = value;
      const got = code(() => {
        for (const { data } of Object.values(decodeMessage(whole).parts)) {
          if (data.buffer !== whole.buffer) throw new Error('a copy');
          if (data.byteOffset < offset || data.byteOffset + data.byteLength > offset + whole.byteLength)
            throw new Error('a view outside of the message');
        }
      });
      if (got === 'ok') outcomes.ok++;
      else if (got === 'RDMA_ERR_PROTOCOL') outcomes.refused++;
      else throw new Error(got);
    }),
    { seed: SEED, numRuns: 3000 },
  );
  t.ok(outcomes.ok > 50 && outcomes.refused > 500, JSON.stringify(outcomes));
});

void t.test('a head that lies about its parts is refused', async (t) => {
  const forge = (document: unknown, count: number, tail = 0) => {
    const json = Buffer.from(typeof document === 'string' ? document : JSON.stringify(document));
    const prefix = Buffer.alloc(16);
    prefix.write('OPM1', 'latin1');
    prefix.writeUInt32LE(json.byteLength, 4);
    prefix.writeUInt32LE(count, 8);
    const pad = Buffer.alloc(tail === 0 ? 0 : (64 - ((16 + json.byteLength) % 64)) % 64);
    return code(() => decodeMessage(together([prefix, json, pad, new Uint8Array(tail)])));
  };
  const big = 2 ** 53 - 1;
  t.equal(forge({ head: 1, parts: [] }, 0), 'ok');
  t.equal(forge({ head: 1, parts: [['x', 'u8', [4]]] }, 1, 4), 'ok');
  const lies: [unknown, number, number?][] = [
    [{ head: 1, parts: [] }, 1],
    [{ head: 1 }, 0],
    [{ parts: [] }, 0],
    [{ head: 1, parts: {} }, 0],
    [{ head: 1, parts: [['x', 'u8', [5]]] }, 1, 4],
    [{ head: 1, parts: [['x', 'u8', [3]]] }, 1, 4],
    [{ head: 1, parts: [['x', 'u8', [-1]]] }, 1, 4],
    [{ head: 1, parts: [['x', 'u8', [1.5]]] }, 1, 4],
    [{ head: 1, parts: [['x', 'u8', [1e300]]] }, 1, 4],
    [{ head: 1, parts: [['x', 'f64', [big, big]]] }, 1, 4],
    [{ head: 1, parts: [['x', 'f64', [big, 8]]] }, 1, 4],
    [{ head: 1, parts: [['x', 'u9', [4]]] }, 1, 4],
    [{ head: 1, parts: [['x', 'u8', [1, 1, 1, 1, 1, 1, 1, 1, 4]]] }, 1, 4],
    [{ head: 1, parts: [['x', 'u8', [4], 0]] }, 1, 4],
    [
      {
        head: 1,
        parts: [
          ['x', 'u8', [0]],
          ['x', 'u8', [4]],
        ],
      },
      2,
      4,
    ],
    ['{"head":1,"parts":[', 0],
    ['[]', 0],
    ['null', 0],
    ['\xff\xfe', 0],
  ];
  for (const [document, count, tail] of lies) {
    t.equal(forge(document, count, tail), 'RDMA_ERR_PROTOCOL', JSON.stringify(document).slice(0, 60));
  }
});

void t.test('what could not be decoded is not encoded', async (t) => {
  const good = tensor('u8', [1], new Uint8Array(1));
  const many = (n: number) => Object.fromEntries(Array.from({ length: n }, (_, i) => [`p${i}`, good]));
  const encode = (head: unknown, parts: unknown = {}) =>
    code(() => encodeMessage(head, parts as Record<string, Tensor>));
  t.equal(encode({}, many(MAX_PARTS)), 'ok');
  t.equal(encode({}, many(MAX_PARTS + 1)), 'RDMA_ERR_MESSAGE_TOO_LARGE');
  t.equal(encode('x'.repeat(MAX_HEAD_BYTES - 40)), 'ok');
  t.equal(encode('x'.repeat(MAX_HEAD_BYTES)), 'RDMA_ERR_MESSAGE_TOO_LARGE');
  t.equal(encode({}, { ['n'.repeat(128)]: good }), 'ok');
  const loop: Record<string, unknown> = {};
  loop.self = loop;
  for (const head of [undefined, () => 1, Symbol('s'), 1n, loop]) t.equal(encode(head), 'RDMA_ERR_INVALID_ARGUMENT');
  const wrong: unknown[] = [
    undefined,
    null,
    5,
    new Uint8Array(4),
    { ...good, shape: [2] },
    { ...good, dtype: 'f32' },
    { ...good, dtype: 'constructor' },
    { ...good, shape: undefined },
    { ...good, shape: Uint32Array.of(1) },
    { ...good, data: [1] },
  ];
  for (const part of wrong) t.equal(encode({}, { part }), 'RDMA_ERR_INVALID_ARGUMENT');
  t.equal(encode({}, { ['n'.repeat(129)]: good }), 'RDMA_ERR_INVALID_ARGUMENT');
});
