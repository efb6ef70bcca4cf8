// Proves that parts, metadata and trace of a message are read as they were written, as aligned views of the message
// itself; that what cannot be read cannot be written; and that no bytes make the reader do anything but refuse or stay
// inside the message.
import fc from 'fast-check';
import t from 'tap';
import {
  bodyBytes,
  checkParts,
  metaOf,
  type PartEntry,
  type Parts,
  readTable,
  tableBytes,
  tensorBytes,
  traceOf,
  writeBody,
} from '../../src/ts/pipeline/body.js';
import { type Envelope, headBytes, Kind, kindOf, MAX_PARTS, readEnvelope } from '../../src/ts/pipeline/envelope.js';
import { Input } from '../../src/ts/pipeline/input.js';
import { decodeMeta, type Meta } from '../../src/ts/pipeline/meta.js';
import { checkSpec } from '../../src/ts/pipeline/spec.js';
import {
  bytesOf,
  DTYPES,
  elementBytes,
  elementCount,
  type Tensor,
  tensor,
  viewTensor,
} from '../../src/ts/pipeline/tensor.js';
import type { InboxMessage, MemoryReference } from '../../src/ts/ring/index.js';
import { encode, envelope, FakeMessage } from './messages.js';

const INVALID = { code: 'RDMA_ERR_INVALID_ARGUMENT' };
const PROTOCOL = { code: 'RDMA_ERR_PROTOCOL' };
const spec = checkSpec({ name: 'flow', stages: [{ name: 'a' }, { name: 'b' }, { name: 'c' }] });
const STAGES = 3;
const none = undefined;
const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const hex = (part: Tensor) => Buffer.from(bytesOf(part)).toString('hex');

const tensors = fc
  .record({
    dtype: fc.constantFrom(...DTYPES),
    shape: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 }),
    fill: fc.integer({ min: 0, max: 255 }),
    skip: fc.integer({ min: 0, max: 3 }),
  })
  .map(({ dtype, shape, fill, skip }) => {
    const size = elementBytes(dtype);
    const memory = new Uint8Array((elementCount(shape) + skip) * size).map((_, i) => (i * 31 + fill) & 0xff);
    return viewTensor(dtype, shape, memory.buffer, skip * size);
  });
const names = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.constantFrom('__proto__', 'constructor', 'toString', '', 'é', '模型'),
);
const partLists = fc.array(fc.tuple(names, tensors), { maxLength: 8 }).map((entries): Parts => {
  const parts: Record<string, Tensor> = Object.create(null);
  for (const [name, part] of entries) parts[name] = part;
  return parts;
});
const messages = fc.record({
  parts: partLists,
  meta: fc.dictionary(fc.string(), fc.jsonValue()).map((meta) => JSON.parse(JSON.stringify(meta)) as Meta),
  trace: fc
    .uint8Array({ maxLength: 10 })
    .map((bytes) => new Uint8Array(24 * bytes.length).map((_, i) => bytes[i % bytes.length]!)),
});

// Everything in a message, as a receiver sees it.
function open(bytes: Uint8Array): { head: Envelope; input: Input; message: FakeMessage } {
  const head = readEnvelope(bytes, viewOf(bytes), STAGES);
  const message = new FakeMessage(bytes);
  const input = new Input(spec, head, message as unknown as InboxMessage, 0, true);
  if (input.load(bytes) !== undefined) throw new Error('it has to be read from elsewhere');
  return { head, input, message };
}

void t.test('a message is read as it was written, as aligned views of itself', async (t) => {
  fc.assert(
    fc.property(messages, ({ parts, meta, trace }) => {
      const bytes = encode(envelope(STAGES), meta, parts, trace);
      const { input } = open(bytes);
      if (JSON.stringify(input.meta) !== JSON.stringify(meta)) throw new Error('another meta');
      if (Buffer.compare(input.records, trace) !== 0) throw new Error('another trace');
      if (Object.keys(input.parts).join('\0') !== Object.keys(parts).join('\0')) throw new Error('other names');
      for (const name of Object.keys(parts)) {
        const sent = parts[name]!;
        const got = input.parts[name]!;
        if (got.dtype !== sent.dtype || got.shape.join() !== sent.shape.join())
          throw new Error(`${name}: another kind`);
        if (hex(got) !== hex(sent)) throw new Error(`${name}: other bytes`);
        if (got.data.length > 0 && got.data.buffer !== bytes.buffer) throw new Error(`${name} is a copy`);
        if (got.data.byteOffset % 64 !== 0) throw new Error(`${name} begins at ${got.data.byteOffset}`);
      }
    }),
    { seed: 31, numRuns: 500 },
  );
  t.pass('500 messages');
});

void t.test('parts that lie in blocks take no room, and come with their references', async (t) => {
  const reference = {
    address: 2 ** 40 + 64,
    segmentAddress: 2 ** 40,
    segmentBytes: 4096,
    segment: 3,
    rkey: 17,
    length: 8,
  };
  const big = tensor('u8', [8], new Uint8Array(8));
  const parts = { a: tensor('i16', [2], Int16Array.of(-1, 2)), big, c: tensor('f64', [1], Float64Array.of(0.5)) };
  const list = checkParts(parts, { referenceOf: (part) => (part === big ? reference : undefined) });
  t.equal(tensorBytes(list), 4 + 8 + 8);
  const length = bodyBytes(0, list, 0);
  const body = new Uint8Array(length).fill(0xaa);
  writeBody(body, viewOf(body), 0, new Uint8Array(0), list, new Uint8Array(0));
  const head = envelope(STAGES, { bodyBytes: length, partCount: 3, tableBytes: tableBytes(list) });
  const entries = readTable(head, body, viewOf(body), 0);
  t.same(
    entries.map(({ name, bytes, offset, reference: at }) => [name, bytes, offset, at]),
    [
      ['a', 4, 128, undefined],
      ['big', 8, 0, reference],
      ['c', 8, 192, undefined],
    ],
  );
  t.notOk(body.subarray(0, 128).includes(0xaa), 'padding does not show what was there before');
});

void t.test('what cannot be sent is refused by name', async (t) => {
  const one = tensor('u8', [1], Uint8Array.of(1));
  for (const parts of [null, 5, 'x', [], [one]])
    t.throws(() => checkParts(parts, none), INVALID, JSON.stringify(parts));
  t.throws(() => checkParts({ mask: new Uint8Array(1) }, none), { ...INVALID, message: /part mask/ });
  t.throws(() => checkParts({ mask: { ...one, shape: [2] } }, none), { ...INVALID, message: /part mask/ });
  t.throws(() => checkParts({ ['n'.repeat(129)]: one }, none), INVALID);
  t.throws(() => checkParts({ ['é'.repeat(65)]: one }, none), INVALID, 'bytes count, not letters');
  t.throws(() => checkParts({ '\ud800': one }, none), INVALID, 'half a character');
  const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`p${i}`, one]));
  t.equal(checkParts(many(MAX_PARTS), none).length, 64);
  t.throws(() => checkParts(many(MAX_PARTS + 1), none), { code: 'RDMA_ERR_MESSAGE_TOO_LARGE' });
  t.same(checkParts(undefined, none), []);
});

// A table, its fields to be spoiled: one part named x of shape [2] and dtype u16 behind a head.
function spoiled(spoil: (view: DataView, at: number) => void, change: Partial<Envelope> = {}) {
  const bytes = encode(envelope(STAGES), {}, { x: tensor('u16', [2], Uint16Array.of(1, 2)) });
  const at = headBytes(STAGES);
  spoil(viewOf(bytes), at);
  const head = { ...readEnvelope(bytes, viewOf(bytes), STAGES), ...change };
  const body = bytes.subarray(at);
  return () => readTable(head, body, viewOf(body), 0);
}

void t.test('a table that does not match its body is refused with the reason', async (t) => {
  t.match(spoiled(() => {})(), [{ name: 'x', dtype: 'u16', shape: [2], bytes: 4, offset: 64 }] as Partial<PartEntry>[]);
  const cases: [string, (view: DataView, at: number) => void, RegExp, Partial<Envelope>?][] = [
    ['dtype', (view, at) => view.setUint8(at, DTYPES.length), /described wrongly/],
    ['rank', (view, at) => view.setUint8(at + 1, 9), /described wrongly/],
    ['rank past the table', (view, at) => view.setUint8(at + 1, 3), /described wrongly/],
    ['flags', (view, at) => view.setUint16(at + 2, 2, true), /described wrongly/],
    ['a block past the table', (view, at) => view.setUint16(at + 2, 1, true), /described wrongly/],
    ['name', (view, at) => view.setUint16(at + 4, 129, true), /described wrongly/],
    ['shape of no size', (view, at) => view.setUint32(at + 12, 0xffffffff, true), /no size/],
    ['shape too large', (view, at) => view.setUint32(at + 8, 100, true), /too long/],
    ['shape too small', (view, at) => view.setUint32(at + 8, 1, true), /left over/],
    ['name that is no text', (view, at) => view.setUint8(at + 16, 0xff), /UTF-8/],
    ['too few parts', () => {}, /table is too long/, { partCount: 0 }],
    ['too many parts', () => {}, /table is too short/, { partCount: 2 }],
  ];
  for (const [name, spoil, words, change] of cases) {
    t.throws(spoiled(spoil, change), { ...PROTOCOL, message: words }, name);
  }
  const twice = encode(
    envelope(STAGES),
    {},
    { x: tensor('u8', [1], Uint8Array.of(1)), y: tensor('u8', [1], Uint8Array.of(2)) },
  );
  const at = headBytes(STAGES);
  twice[at + 24 + 16] = 'x'.charCodeAt(0);
  const head = readEnvelope(twice, viewOf(twice), STAGES);
  const body = twice.subarray(at);
  t.throws(() => readTable(head, body, viewOf(body), 0), { ...PROTOCOL, message: /part x comes twice/ });
});

void t.test('metadata and trace are found where they were put', async (t) => {
  const bytes = encode(
    envelope(STAGES),
    { a: 1 },
    { x: tensor('u8', [1], Uint8Array.of(9)) },
    new Uint8Array(48).fill(3),
  );
  const head = readEnvelope(bytes, viewOf(bytes), STAGES);
  const body = bytes.subarray(headBytes(STAGES));
  t.same([...traceOf(head, body, 0)], new Array(48).fill(3));
  t.same(decodeMeta(metaOf(head, body, 0)), { a: 1 });
});

// A receiver whose sender says that memory lies in blocks: it maps nothing, and what it READs is noise.
class Elsewhere extends FakeMessage {
  readonly reads: MemoryReference[] = [];

  async read(reference: MemoryReference, into: Uint8Array): Promise<void> {
    this.reads.push(reference);
    into.fill(0x5a);
  }
}

// What every place does with bytes: refuses them, or has an input that stays inside of them.
async function take(bytes: Uint8Array): Promise<boolean> {
  try {
    if (kindOf(bytes, viewOf(bytes)) !== Kind.INPUT) return false;
    const head = readEnvelope(bytes, viewOf(bytes), STAGES);
    // What a real message refers to is checked by map() and read().
    if (head.bodyBytes > 2 ** 16) return false;
    const input = new Input(spec, head, new Elsewhere(bytes) as unknown as InboxMessage, 0, true);
    await input.load(bytes);
    if (!input.isLoaded) throw new Error('it was not loaded');
    for (const name of Object.keys(input.parts)) {
      const { data, shape } = input.parts[name]!;
      if (elementCount(shape) !== data.length) throw new Error('a part has another size than it says');
    }
    return typeof input.meta === 'object';
  } catch (error) {
    if ((error as { code?: string }).code !== 'RDMA_ERR_PROTOCOL') throw error;
    return false;
  }
}

void t.test('bits that flip and ends that are cut off are refused, or the parts stay inside', async (t) => {
  let accepted = 0;
  let total = 0;
  await fc.assert(
    fc.asyncProperty(
      messages,
      fc.array(fc.tuple(fc.nat(), fc.nat({ max: 7 })), { maxLength: 4 }),
      fc.option(fc.nat(), { freq: 4 }),
      async ({ parts, meta, trace }, flips, cut) => {
        let bytes = encode(envelope(STAGES), meta, parts, trace);
        // What is in the body counts: flips in the head are the envelope's test.
        const at = headBytes(STAGES);
        if (bytes.length > at) for (const [where, bit] of flips) bytes[at + (where % (bytes.length - at))]! ^= 1 << bit;
        if (cut !== null && flips.length === 0) bytes = bytes.slice(0, cut % (bytes.length + 1));
        total++;
        if (await take(bytes)) accepted++;
      },
    ),
    { seed: 32, numRuns: 4000 },
  );
  t.ok(accepted > 100 && accepted < total - 100, `${accepted} of ${total} were accepted`);
});

void t.test(
  'whole messages with flips anywhere, and noise behind a good head, are refused or stay inside',
  async (t) => {
    await fc.assert(
      fc.asyncProperty(
        messages,
        fc.array(fc.tuple(fc.nat(), fc.nat({ max: 7 })), { minLength: 1, maxLength: 8 }),
        async ({ parts, meta }, flips) => {
          const bytes = encode(envelope(STAGES), meta, parts);
          for (const [where, bit] of flips) bytes[where % bytes.length]! ^= 1 << bit;
          await take(bytes);
        },
      ),
      { seed: 33, numRuns: 4000 },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 200 }),
        fc.nat({ max: 4 }),
        fc.nat({ max: 80 }),
        async (noise, partCount, table) => {
          const bytes = encode(envelope(STAGES));
          const whole = new Uint8Array(bytes.length + noise.length);
          whole.set(bytes);
          whole.set(noise, bytes.length);
          const view = viewOf(whole);
          view.setUint16(42, partCount, true);
          view.setUint32(60, Math.min(table, noise.length), true);
          view.setUint32(64, noise.length, true);
          await take(whole);
        },
      ),
      { seed: 34, numRuns: 4000 },
    );
    t.pass('8000 messages');
  },
);
