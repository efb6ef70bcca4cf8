// Proves that notes between places are read as they were written, that failures travel whatever their words are, and
// that no bytes make a reader do anything but refuse or answer records of sane numbers.
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { Kind, kindOf } from '../../src/ts/pipeline/envelope.js';
import {
  encodeEnded,
  encodeFailure,
  MAX_RECORDS,
  readEnded,
  readFailure,
  readNoteHead,
  readReports,
  Report,
  type ReportRecord,
  ReportWriter,
} from '../../src/ts/pipeline/notes.js';

const PROTOCOL = { code: 'RDMA_ERR_PROTOCOL' };
const STAGES = 4;
const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const isSame = (a: unknown, b: unknown) => isDeepStrictEqual(structuredClone(a), structuredClone(b));
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const ticket = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const head = fc.record({
  stage: fc.integer({ min: -1, max: STAGES - 1 }),
  instance: fc.integer({ min: 0, max: 0xffff }),
  gatewayRun: u32,
});
const positive = fc.float({ min: 0, noNaN: true, noDefaultInfinity: true }).map((value) => Math.abs(value));
const record: fc.Arbitrary<ReportRecord> = fc.record({
  what: fc.constantFrom(...Object.values(Report)),
  attempt: u32,
  ticket,
  queueUs: positive,
  computeUs: positive,
  progress: fc.double({ min: 0, max: 1, noNaN: true }).map((value) => Math.abs(value)),
});

void t.test('reports are read as they were written, in one note after the other', async (t) => {
  fc.assert(
    fc.property(head, fc.array(record, { minLength: 1, maxLength: 60 }), (from, records) => {
      const writer = new ReportWriter(from.stage, from.instance, 0, from.gatewayRun);
      const got: ReportRecord[] = [];
      const take = () => {
        const note = writer.take();
        const view = viewOf(note);
        if (kindOf(note, view) !== Kind.REPORTS) throw new Error('another kind');
        if (!isSame(readNoteHead(note, view, STAGES), from)) throw new Error('another sender');
        got.push(...readReports(note, view));
      };
      for (const { what, ticket: number, attempt, queueUs, computeUs, progress } of records) {
        if (writer.isFull) take();
        writer.add(what, number, attempt, queueUs, computeUs, progress);
      }
      take();
      if (!writer.isEmpty) throw new Error('something is left');
      if (!isSame(got, records)) throw new Error('other records');
    }),
    { seed: 41, numRuns: 300 },
  );
  t.pass('300 notes');
});

void t.test('a note has room for 24 records', async (t) => {
  const writer = new ReportWriter(0, 0, 0, 1);
  for (let i = 0; i < MAX_RECORDS; i++) {
    t.notOk(writer.isFull);
    writer.add(Report.DONE, i, 1);
  }
  t.ok(writer.isFull);
  t.equal(readReports(writer.take(), viewOf(writer.bytes.subarray(0, 16 + 24 * 32))).length, 24);
});

void t.test('a note that a request has ended is read as it was written', async (t) => {
  fc.assert(
    fc.property(head, ticket, u32, (from, number, attempt) => {
      const note = encodeEnded(from, number, attempt);
      if (kindOf(note, viewOf(note)) !== Kind.ENDED) throw new Error('another kind');
      if (!isSame(readNoteHead(note, viewOf(note), STAGES), from)) throw new Error('another sender');
      if (!isSame(readEnded(note, viewOf(note)), [{ ticket: number, attempt }])) throw new Error('another request');
    }),
    { seed: 42, numRuns: 300 },
  );
  t.pass('300 notes');
});

void t.test('a failure travels with its words, whatever they are, and long ones are cut', async (t) => {
  fc.assert(
    fc.property(
      head,
      ticket,
      u32,
      fc.string({ unit: 'binary' }),
      fc.string({ unit: 'binary' }),
      (from, number, attempt, code, message) => {
        const note = encodeFailure(from, number, attempt, { code, message });
        if (kindOf(note, viewOf(note)) !== Kind.FAILURE) throw new Error('another kind');
        const back = readFailure(note, viewOf(note));
        const failure = { code: code.slice(0, 64), message: message.slice(0, 2000) };
        if (!isSame(back, { ticket: number, attempt, failure })) throw new Error('another failure');
      },
    ),
    { seed: 43, numRuns: 500 },
  );
  const retryable = encodeFailure(
    { stage: 1, instance: 0, gatewayRun: 3 },
    9,
    1,
    {
      code: 'X',
      message: '\u0001'.repeat(1000),
      retryable: true,
    },
    512,
  );
  t.ok(retryable.length <= 512);
  t.match(readFailure(retryable, viewOf(retryable)).failure, { code: 'X', retryable: true });
  const long = encodeFailure({ stage: 1, instance: 0, gatewayRun: 3 }, 9, 1, {
    code: 'X',
    message: '\u0001'.repeat(1e6),
  });
  t.ok(long.length < 16_384, `${long.length} bytes`);
  t.equal(readFailure(long, viewOf(long)).failure.message.length, 2000);
});

void t.test('a note that is not of exactly its form is refused', async (t) => {
  const from = { stage: 1, instance: 2, gatewayRun: 3 };
  const writer = new ReportWriter(1, 2, 0, 3);
  writer.add(Report.PROGRESS, 7, 1, 1, 1, 0.5);
  const good = writer.take().slice();
  const spoil = (change: (view: DataView) => void) => {
    const bytes = good.slice();
    change(viewOf(bytes));
    return () => readReports(bytes, viewOf(bytes));
  };
  const wrong: [string, (view: DataView) => void][] = [
    ['kind of report 0', (view) => view.setUint32(16, 0, true)],
    ['kind of report 5', (view) => view.setUint32(16, 5, true)],
    ['ticket', (view) => view.setUint32(28, 0x200000, true)],
    ['queue', (view) => view.setFloat32(32, -1, true)],
    ['compute', (view) => view.setFloat32(36, Number.NaN, true)],
    ['progress below 0', (view) => view.setFloat64(40, -0.1, true)],
    ['progress above 1', (view) => view.setFloat64(40, 1.1, true)],
    ['no progress', (view) => view.setFloat64(40, Number.NaN, true)],
  ];
  for (const [name, change] of wrong) t.throws(spoil(change), PROTOCOL, name);
  for (const length of [16, 17, 47, 49, 79]) {
    const bytes = new Uint8Array(length);
    bytes.set(good.subarray(0, Math.min(length, good.length)));
    t.throws(() => readReports(bytes, viewOf(bytes)), PROTOCOL, `${length} bytes`);
  }
  t.throws(() => readNoteHead(good.slice(0, 15), viewOf(good.slice(0, 15)), STAGES), PROTOCOL);
  t.throws(() => readNoteHead(good, viewOf(good), 1), PROTOCOL, 'a stage that does not exist');
  const ended = encodeEnded(from, 1, 1);
  for (const length of [16, 31, 33]) {
    const bytes = new Uint8Array(length);
    bytes.set(ended.subarray(0, Math.min(length, 32)));
    t.throws(() => readEnded(bytes, viewOf(bytes)), PROTOCOL, `${length} bytes`);
  }
  for (const json of ['', 'x', '5', 'null', '[]', '{}', '{"code":1,"message":"a"}', '{"code":"a"}']) {
    const failure = encodeFailure(from, 1, 1, { code: '', message: '' }).subarray(0, 48);
    const bytes = new Uint8Array([...failure, ...Buffer.from(json)]);
    t.throws(() => readFailure(bytes, viewOf(bytes)), PROTOCOL, json);
  }
});

void t.test('any bytes are refused, or answer records of sane numbers', async (t) => {
  const good = [
    encodeEnded({ stage: -1, instance: 0, gatewayRun: 1 }, 5, 1),
    encodeFailure({ stage: 1, instance: 0, gatewayRun: 1 }, 5, 1, { code: 'A', message: 'b' }),
    (() => {
      const writer = new ReportWriter(1, 0, 0, 1);
      writer.add(Report.DONE, 5, 1, 10, 20);
      writer.add(Report.PROGRESS, 6, 1, 0, 0, 0.5);
      return writer.take();
    })(),
  ];
  const flips = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 7 })), { maxLength: 4 });
  const changed = fc.tuple(fc.constantFrom(...good), flips, fc.option(fc.nat())).map(([note, list, cut]) => {
    let bytes = note.slice();
    for (const [at, bit] of list) bytes[at % bytes.length]! ^= 1 << bit;
    if (cut !== null) bytes = bytes.slice(0, cut % (bytes.length + 1));
    return bytes;
  });
  let accepted = 0;
  fc.assert(
    fc.property(fc.oneof(changed, fc.uint8Array({ maxLength: 100 })), (noise) => {
      const bytes = noise.slice();
      const view = viewOf(bytes);
      for (const read of [
        () => readNoteHead(bytes, view, STAGES).stage < STAGES,
        () => readReports(bytes, view).every(({ ticket: number, progress }) => number >= 0 && progress <= 1),
        () => readEnded(bytes, view).every(({ ticket: number }) => number >= 0),
        () => typeof readFailure(bytes, view).failure.message === 'string',
      ]) {
        try {
          if (!read()) throw new Error('insane');
          accepted++;
        } catch (error) {
          if ((error as { code?: string }).code !== PROTOCOL.code) throw error;
        }
      }
    }),
    { seed: 44, numRuns: 4000 },
  );
  t.ok(accepted > 1000, `${accepted} were accepted`);
});
