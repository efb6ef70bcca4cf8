// Proves that words of progress are read as they were written, whatever they are and however short notes are; that
// pieces with a gap make no preview; and that no bytes make a reader do anything but refuse or answer sane values.
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { RdmaError } from '../../src/ts/core/errors.js';
import { Kind, kindOf } from '../../src/ts/pipeline/envelope.js';
import { readNoteHead } from '../../src/ts/pipeline/notes.js';
import {
  checkDetails,
  encodeProgress,
  MAX_PREVIEW_BYTES,
  type ProgressNote,
  Previews,
} from '../../src/ts/pipeline/progress-note.js';

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const from = { stage: 1, instance: 3, gatewayRun: 77 };
const preview = fc.oneof(
  fc.constant(undefined),
  fc.string({ unit: 'grapheme', maxLength: 3000 }),
  fc.uint8Array({ maxLength: MAX_PREVIEW_BYTES }),
);
const note: fc.Arbitrary<ProgressNote> = fc.record({
  ticket: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
  attempt: fc.integer({ min: 0, max: 0xffffffff }),
  done: fc.double({ min: 0, max: 1, noNaN: true }).map((value) => Math.abs(value)),
  step: fc.oneof(fc.constant(undefined), fc.integer({ min: 0, max: 0xfffffffe })),
  preview,
});
const take = (previews: Previews, bytes: Uint8Array) => previews.take(from, bytes, viewOf(bytes));

void t.test('progress is read as it was written, in notes of any length', async (t) => {
  fc.assert(
    fc.property(fc.array(note, { minLength: 1, maxLength: 4 }), fc.integer({ min: 128, max: 4096 }), (words, limit) => {
      const previews = new Previews();
      const got: (ProgressNote | undefined)[] = [];
      for (const word of words) {
        const notes = encodeProgress(from, word, limit);
        for (const bytes of notes) {
          if (bytes.length > limit) throw new Error(`a note of ${bytes.length} bytes`);
          if (kindOf(bytes, viewOf(bytes)) !== Kind.PROGRESS) throw new Error('another kind');
          if (!isDeepStrictEqual({ ...readNoteHead(bytes, viewOf(bytes), 2) }, from)) throw new Error('another sender');
        }
        const answers = notes.map((bytes) => take(previews, bytes));
        if (answers.slice(0, -1).some((answer) => answer !== undefined)) throw new Error('complete before its end');
        got.push(answers.at(-1));
      }
      if (!isDeepStrictEqual(structuredClone(got), structuredClone(words))) throw new Error('other words');
    }),
    { seed: 44, numRuns: 200 },
  );
  t.pass('200 talks');
});

void t.test('a preview with a gap is not shown, and the next one is', async (t) => {
  const long = (seed: number): ProgressNote => ({
    ticket: seed,
    attempt: 1,
    done: 0.5,
    step: 1,
    preview: new Uint8Array(1000).fill(seed),
  });
  for (let missing = 0; missing < encodeProgress(from, long(1), 256).length; missing++) {
    const previews = new Previews();
    const pieces = encodeProgress(from, long(1), 256).filter((_, i) => i !== missing);
    t.same(
      pieces.map((bytes) => take(previews, bytes)).filter((answer) => answer !== undefined),
      [],
    );
    t.match(
      encodeProgress(from, long(2), 256)
        .map((bytes) => take(previews, bytes))
        .at(-1),
      { ticket: 2 },
    );
  }
  const previews = new Previews();
  const mixed = encodeProgress(from, long(1), 256);
  mixed.splice(2, 2, ...encodeProgress(from, long(2), 256).slice(2, 4));
  t.same(
    mixed.map((bytes) => take(previews, bytes)).filter((answer) => answer !== undefined),
    [],
    'of two requests',
  );
  const twice = encodeProgress(from, long(1), 256);
  t.same(
    [...twice.slice(0, 3), ...twice.slice(2)].map((bytes) => take(previews, bytes)).at(-1),
    undefined,
    'a piece twice',
  );
});

void t.test('whatever the bytes are, they are refused, or sane', async (t) => {
  const [whole] = encodeProgress(from, { ticket: 5, attempt: 1, done: 0.5, step: 2, preview: 'text' }, 4096);
  let refused = 0;
  fc.assert(
    fc.property(
      fc.array(fc.record({ at: fc.nat(whole!.length - 1), byte: fc.nat(255) }), { maxLength: 6 }),
      fc.nat(whole!.length),
      (changes, length) => {
        const bytes = whole!.slice(0, length);
        for (const { at, byte } of changes) if (at < length) bytes[at] = byte;
        try {
          const answer = take(new Previews(), bytes);
          if (answer === undefined) return;
          const { done, step, preview } = answer;
          if (!(done >= 0 && done <= 1) || (step !== undefined && !(step >= 0))) throw new Error('not sane');
          if (preview !== undefined && preview.length > MAX_PREVIEW_BYTES) throw new Error('too long');
        } catch (error) {
          if (!(error instanceof RdmaError) || error.code !== 'RDMA_ERR_PROTOCOL') throw error;
          refused++;
        }
      },
    ),
    { seed: 45, numRuns: 2000 },
  );
  t.ok(refused > 200, `${refused} refused`);
});

void t.test('details are checked', async (t) => {
  for (const details of [{}, { step: 0 }, { preview: '' }, { preview: new Uint8Array(MAX_PREVIEW_BYTES) }]) {
    t.equal(checkDetails(details), details);
  }
  for (const details of [null, 5, { step: 1.5 }, { step: -1 }, { step: 2 ** 32 }, { preview: [1] }]) {
    t.throws(() => checkDetails(details as never), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  }
  t.throws(() => checkDetails({ preview: new Uint8Array(MAX_PREVIEW_BYTES + 1) }), {
    code: 'RDMA_ERR_MESSAGE_TOO_LARGE',
  });
});
