// Proves: a missing peer is named before anything is measured, a failing one is named once, and only an abort ends the
// run.
import t from 'tap';
import { Beside } from '../../../src/ts/bench/kit/beside.js';
import { RdmaError } from '../../../src/ts/core/errors.js';

const there = { name: 'dove', check: () => 'dove 1.0' };
const lost = {
  name: 'lost',
  check: () => {
    throw new Error('it is not installed');
  },
};

void t.test('who is missing', async (t) => {
  const notes: string[] = [];
  const onNote = (words: string) => notes.push(words);
  const beside = new Beside({ peers: [lost, there], skipMissing: true, onNote });
  t.strictSame(beside.present, [there]);
  t.strictSame(beside.versions, { dove: 'dove 1.0' });
  t.strictSame(notes, ['without lost: it is not installed']);
  t.throws(() => new Beside({ peers: [there, lost], skipMissing: false, onNote }), /not installed/);
});

void t.test('who fails', async (t) => {
  const notes: string[] = [];
  const reasons: string[] = [];
  const beside = new Beside({ peers: [there], skipMissing: false, onNote: (words) => notes.push(words) });
  const attempt = (error: Error) =>
    beside.attempt(
      'dove has failed',
      () => Promise.reject(error),
      (reason) => reasons.push(reason),
    );
  await attempt(new Error('it flew away'));
  await attempt(new Error('it flew away'));
  t.strictSame(reasons, ['it flew away', 'it flew away']);
  t.strictSame(notes, ['dove has failed: it flew away']);
  await t.rejects(attempt(new RdmaError('RDMA_ERR_ABORTED', 'stop')), { code: 'RDMA_ERR_ABORTED' });
});
