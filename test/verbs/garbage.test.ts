// Proves that no argument, however wrong, crashes the native code: every function, with garbage and with real handles
// mixed, and every word of the records that JavaScript shares with it. The child does it, so that a crash is a failure.
import t from 'tap';
import { ended, startHelper } from './support.js';

for (const part of ['functions', 'records']) {
  void t.test(`garbage in ${part} is answered and never fatal`, async (t) => {
    const { how, output } = await ended(startHelper('garbage', [part]), 60_000);
    t.equal(how, '0', 'the exit code', { output: output.slice(-4000) });
    t.match(output, /all answered/);
  });
}
