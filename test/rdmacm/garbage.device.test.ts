// Proves that no argument, and no call in a wrong state, crashes or hangs the connection manager's native code. On
// soft0 the objects may be missing; in the guest they are there.
import t from 'tap';
import { ended } from '../verbs/support.js';
import { isSoft, startHelper } from './support.js';

void t.test('garbage is answered and never fatal', async (t) => {
  const { how, output } = await ended(startHelper('garbage'), isSoft ? 60_000 : 300_000);
  t.equal(how, '0', 'the exit code', { output: output.slice(-4000) });
  t.match(output, isSoft ? /all answered/ : /all answered, ids open/);
});
