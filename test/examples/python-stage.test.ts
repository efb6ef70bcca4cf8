// Proves that the example of a stage in Python answers, for texts of several lines and of none.
import t from 'tap';
import { runExample } from './run.js';

void t.test('a stage in Python scores the lines that a stage in JavaScript has cleaned', async (t) => {
  const input = 'A good day!\nAn AWFUL, bad evening.\nGreat... great?\nNothing.\n';
  t.strictSame(await runExample('python-stage/mood.mjs', [], { input }), { code: 0, out: '1\n-3\n4\n0\n', err: '' });
});

void t.test('an empty text has no scores', async (t) => {
  t.strictSame(await runExample('python-stage/mood.mjs', []), { code: 0, out: '', err: '' });
});
