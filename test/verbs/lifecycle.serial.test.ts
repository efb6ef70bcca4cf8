// Proves that a process with anything open, at every step of an object's life, ends when and how it wants to: it
// neither hangs nor crashes, an idle open device does not keep it alive, and nothing is left on the machine.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { steps } from './climb.js';
import { ended, startHelper } from './support.js';

const endings: Record<string, string> = {
  natural: '0',
  exit: '7',
  'exit-later': '7',
  throw: '1',
  'close-then-exit': '7',
};

// The children get a folder of their own, as others use the machine's at the same time.
const folder = mkdtempSync(path.join(tmpdir(), 'verbs-lifecycle-'));
process.env.TMPDIR = folder;
t.teardown(() => rmSync(folder, { recursive: true }));

const traces = () => [...readdirSync(folder), ...readdirSync('/dev/shm').filter((name) => /onepiece|soft0/.test(name))];

for (const [ending, expected] of Object.entries(endings)) {
  void t.test(`a process that ends by ${ending} does so at every step`, async (t) => {
    const before = traces();
    const queue = [...steps];
    const run = async () => {
      for (let step = queue.shift(); step !== undefined; step = queue.shift()) {
        const { how, output } = await ended(startHelper('ending', [step, ending]), 20_000);
        t.equal(how, expected, step, { output });
        t.match(output, `leaving with ${expected}`, step);
      }
    };
    await Promise.all([run(), run()]);
    t.same(traces(), before);
  });
}
