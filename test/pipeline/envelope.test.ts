// Proves that the head of a message is read as it was written, that bytes of another version or workflow are refused in
// words, and that no bytes, cut, changed or random, make the reader do anything but refuse or answer sane numbers.
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import {
  type Envelope,
  FIXED_HEAD_BYTES,
  Flag,
  getCount,
  getReference,
  headBytes,
  Kind,
  kindOf,
  MAX_PARTS,
  MAX_TABLE_BYTES,
  MAX_TRACE_BYTES,
  NO_DEADLINE,
  NO_STREAM,
  readEnvelope,
  setCount,
  setReference,
  writeEnvelope,
  writePrefix,
} from '../../src/ts/pipeline/envelope.js';
import { MAX_META_BYTES } from '../../src/ts/pipeline/meta.js';
import { GATEWAY_INDEX } from '../../src/ts/pipeline/plan.js';
import { MAX_PIECES } from '../../src/ts/pipeline/spec.js';
import { envelope } from './messages.js';

const PROTOCOL = 'RDMA_ERR_PROTOCOL';
const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const count = fc.nat({ max: Number.MAX_SAFE_INTEGER });

const reference = fc.record({
  address: count,
  segmentAddress: count,
  segmentBytes: count,
  segment: count,
  rkey: u32,
  length: fc.integer({ min: 1, max: 2 ** 31 }),
});

const envelopes: fc.Arbitrary<Envelope> = fc
  .integer({ min: 1, max: 64 })
  .chain((stages) =>
    fc.record({
      flags: fc.integer({ min: 0, max: 3 }),
      plan: u32,
      gateway: u16,
      gatewayRun: u32,
      ticket: count,
      attempt: u32,
      finishedBelow: count,
      fromStage: fc.integer({ min: -1, max: stages - 1 }),
      fromInstance: u16,
      incarnation: u32,
      remainingMs: fc.oneof(u32, fc.constant(NO_DEADLINE)),
      sentAtUs: fc.double({ noNaN: true, noDefaultInfinity: true }),
      host: u32,
      queueUs: fc.float({ noNaN: true }),
      computeUs: fc.float({ noNaN: true }),
      task: u32,
      piece: fc.oneof(fc.constant(NO_STREAM), fc.integer({ min: 0, max: MAX_PIECES - 1 })),
      pieces: fc.oneof(fc.constant(NO_STREAM), fc.integer({ min: 0, max: MAX_PIECES })),
      route: fc.uint16Array({ minLength: stages, maxLength: stages }),
      runs: fc.uint32Array({ minLength: stages, maxLength: stages }),
      partCount: fc.integer({ min: 0, max: MAX_PARTS }),
      traceBytes: fc.integer({ min: 0, max: MAX_TRACE_BYTES }),
      tableBytes: fc.integer({ min: 0, max: MAX_TABLE_BYTES }),
      metaBytes: fc.integer({ min: 0, max: 4096 }),
      block: fc.option(reference, { nil: undefined }),
      bodyBytes: fc.constant(0),
    }),
  )
  .map((whole) => {
    // A gateway has no streams, and a piece does not close one.
    const isOfGateway = whole.fromStage === GATEWAY_INDEX;
    const piece = isOfGateway ? NO_STREAM : whole.piece;
    const head = { ...whole, piece, pieces: isOfGateway || piece !== NO_STREAM ? NO_STREAM : whole.pieces };
    const least = head.traceBytes + head.tableBytes + head.metaBytes;
    if (head.block === undefined) return { ...head, bodyBytes: least };
    const bodyBytes = Math.max(1, least, head.block.length);
    return { ...head, bodyBytes, block: { ...head.block, length: bodyBytes } };
  });

// Whatever their prototypes are.
const isSame = (a: object, b: object) => isDeepStrictEqual(structuredClone(a), structuredClone(b));

function written(head: Envelope): Uint8Array {
  const stages = head.runs.length;
  const inline = head.block === undefined ? head.bodyBytes : 0;
  // What was there before does not show.
  const bytes = new Uint8Array(headBytes(stages) + inline).fill(0xaa);
  const end = writeEnvelope(viewOf(bytes), head);
  if (end !== headBytes(stages)) throw new Error(`${end} bytes were written`);
  return bytes;
}

void t.test('a head is read as it was written', async (t) => {
  fc.assert(
    fc.property(envelopes, (head) => {
      const bytes = written(head);
      const { route, runs, ...back } = readEnvelope(bytes, viewOf(bytes), head.runs.length);
      const { route: sentRoute, runs: sentRuns, ...sent } = head;
      if (!isSame(back, sent)) throw new Error('another head');
      if (route.join() !== sentRoute.join() || runs.join() !== sentRuns.join()) throw new Error('another route');
      if (kindOf(bytes, viewOf(bytes)) !== Kind.INPUT) throw new Error('another kind');
      const clean = new Uint8Array(headBytes(head.runs.length));
      writeEnvelope(viewOf(clean), head);
      if (Buffer.compare(clean, bytes.subarray(0, clean.length)) !== 0) throw new Error('old bytes show');
    }),
    { seed: 21, numRuns: 300 },
  );
  t.pass('300 heads');
});

void t.test('a head is aligned, and as long as its stages need', async (t) => {
  for (let stages = 1; stages <= 64; stages++) {
    const bytes = headBytes(stages);
    t.equal(bytes % 64, 0);
    t.ok(bytes >= FIXED_HEAD_BYTES + 6 * stages && bytes < FIXED_HEAD_BYTES + 6 * stages + 68);
  }
});

void t.test('counts have 53 bits, and a larger one is NaN', async (t) => {
  const view = new DataView(new ArrayBuffer(8));
  for (const value of [0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 52 + 1, Number.MAX_SAFE_INTEGER]) {
    setCount(view, 0, value);
    t.equal(view.getBigUint64(0, true), BigInt(value));
    t.equal(getCount(view, 0), value);
  }
  for (const value of [2n ** 53n, 2n ** 64n - 1n]) {
    view.setBigUint64(0, value, true);
    t.ok(Number.isNaN(getCount(view, 0)));
  }
});

void t.test('a reference is read as it was written', async (t) => {
  fc.assert(
    fc.property(reference, (block) => {
      const view = new DataView(new ArrayBuffer(40));
      setReference(view, 0, block);
      if (!isSame(getReference(view, 0, block.length), block)) throw new Error('another reference');
    }),
    { seed: 22, numRuns: 300 },
  );
  t.pass('300 references');
});

void t.test('another version is said in words, and noise is not mistaken for one', async (t) => {
  const bytes = written(envelope(2));
  const words = (magic: string, length = bytes.length) => {
    const other = bytes.slice(0, length);
    other.set(Buffer.from(magic));
    try {
      return String(kindOf(other, viewOf(other)));
    } catch (error) {
      t.equal((error as { code: string }).code, PROTOCOL);
      return (error as Error).message;
    }
  };
  t.equal(words('OPM4'), '1');
  for (const version of ['OPM1', 'OPM3', 'OPM5']) t.match(words(version), /another version.*same release/);
  for (const noise of ['GET ', '\0\0\0\0', 'opm4']) t.match(words(noise), /magic number/);
  t.match(words('OPM4', 7), /shorter than its prefix/);
  const prefix = new Uint8Array(8);
  writePrefix(viewOf(prefix), Kind.ENDED);
  t.equal(kindOf(prefix, viewOf(prefix)), Kind.ENDED);
});

function setPiece(view: DataView, flag: number, number: number): void {
  view.setUint16(14, 1, true);
  view.setUint8(5, flag);
  view.setUint32(128, number, true);
}

void t.test('each field that is out of its range is refused in words', async (t) => {
  const stages = 3;
  const cases: [string, (view: DataView) => void, RegExp][] = [
    ['stages', (view) => view.setUint16(6, 4, true), /another workflow/],
    ['sender', (view) => view.setUint16(14, 5, true), /no stage/],
    ['ticket', (view) => view.setUint32(28, 0x200000, true), /ticket/],
    ['finished', (view) => view.setUint32(36, 0xffffffff, true), /ticket/],
    ['body', (view) => view.setUint32(68, 1, true), /body is too long/],
    ['length', (view) => view.setUint32(64, 1, true), /length is not that of its body/],
    ['parts', (view) => view.setUint16(42, MAX_PARTS + 1, true), /too long/],
    ['trace', (view) => view.setUint32(52, MAX_TRACE_BYTES + 1, true), /too long/],
    ['meta', (view) => view.setUint32(56, MAX_META_BYTES + 1, true), /too long/],
    ['table', (view) => view.setUint32(60, MAX_TABLE_BYTES + 1, true), /too long/],
    ['parts of the body', (view) => view.setUint32(60, 1, true), /shorter than its parts/],
    ['time', (view) => view.setFloat64(72, Number.NaN, true), /no time/],
    ['a piece that closes', (view) => view.setUint8(5, Flag.PIECE | Flag.CLOSES), /piece of a stream, and closes/],
    ['a piece of a gateway', (view) => view.setUint8(5, Flag.PIECE), /gateways have no streams/],
    ['a stream of a gateway', (view) => view.setUint8(5, Flag.CLOSES), /gateways have no streams/],
    ['a number of no piece', (view) => view.setUint32(128, 1, true), /piece is out of range/],
    ['a piece', (view) => setPiece(view, Flag.PIECE, MAX_PIECES), /out of range/],
    ['pieces', (view) => setPiece(view, Flag.CLOSES, MAX_PIECES + 1), /out of range/],
    ['an empty block', (view) => view.setUint8(5, Flag.IN_BLOCK), /bytes follow/],
  ];
  for (const [name, spoil, words] of cases) {
    const bytes = written(envelope(stages));
    spoil(viewOf(bytes));
    t.throws(() => readEnvelope(bytes, viewOf(bytes), stages), { code: PROTOCOL, message: words }, name);
  }
});

// The sane numbers that a head may have, whatever bytes it was read from.
function checkSane(head: Envelope, length: number): void {
  const { bodyBytes, traceBytes, tableBytes, metaBytes, partCount, ticket, finishedBelow, fromStage } = head;
  const numbers = { bodyBytes, traceBytes, tableBytes, metaBytes, partCount, ticket, finishedBelow };
  for (const [name, value] of Object.entries(numbers)) {
    if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${name} is ${value}`);
  }
  const stages = head.runs.length;
  if (head.block === undefined && headBytes(stages) + bodyBytes !== length) throw new Error('the body is elsewhere');
  if (head.block !== undefined && head.block.length !== bodyBytes) throw new Error('the block has another length');
  if (traceBytes + tableBytes + metaBytes > bodyBytes) throw new Error('parts are longer than the body');
  const { piece, pieces } = head;
  if (piece < -1 || piece >= MAX_PIECES || pieces < -1 || pieces > MAX_PIECES) throw new Error('wild pieces');
  if (piece !== NO_STREAM && pieces !== NO_STREAM) throw new Error('a piece that closes');
  if (fromStage < -1 || fromStage >= stages || !Number.isFinite(head.sentAtUs)) throw new Error('wild numbers');
}

function read(bytes: Uint8Array, stages: number): boolean {
  try {
    if (kindOf(bytes, viewOf(bytes)) !== Kind.INPUT) return false;
    checkSane(readEnvelope(bytes, viewOf(bytes), stages), bytes.length);
    return true;
  } catch (error) {
    if ((error as { code?: string }).code !== PROTOCOL) throw error;
    return false;
  }
}

void t.test('bits that flip, and ends that are cut off, are refused or leave sane numbers', async (t) => {
  let accepted = 0;
  fc.assert(
    fc.property(
      envelopes,
      fc.array(fc.tuple(fc.nat(), fc.nat({ max: 7 })), { maxLength: 6 }),
      fc.option(fc.nat()),
      (head, flips, cut) => {
        let bytes = written(head);
        const end = headBytes(head.runs.length);
        for (const [at, bit] of flips) bytes[at % end]! ^= 1 << bit;
        if (cut !== null) bytes = bytes.slice(0, cut % (bytes.length + 1));
        if (read(bytes, head.runs.length)) accepted++;
      },
    ),
    { seed: 23, numRuns: 5000 },
  );
  t.ok(accepted > 100 && accepted < 4900, `${accepted} of 5000 were accepted`);
});

void t.test('random bytes are refused or leave sane numbers', async (t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 400 }),
      fc.integer({ min: 1, max: 20 }),
      fc.boolean(),
      (noise, stages, marked) => {
        const bytes = noise.slice();
        if (marked && bytes.length >= 8) {
          writePrefix(viewOf(bytes), Kind.INPUT);
          viewOf(bytes).setUint16(6, stages, true);
        }
        read(bytes, stages);
      },
    ),
    { seed: 24, numRuns: 5000 },
  );
  t.pass('5000 messages');
});
