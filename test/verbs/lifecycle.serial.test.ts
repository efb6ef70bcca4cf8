// Proves that a process with anything open, at every step of an object's life, ends when and how it wants to: it
// neither hangs nor crashes, an idle open device does not keep it alive, and nothing is left on the machine.
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
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

const traces = () =>
  ['/dev/shm', tmpdir()].flatMap((folder) => readdirSync(folder).map((name) => `${folder}/${name}`)).sort();

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
    t.same(
      traces().filter((name) => !before.includes(name) && /onepiece|soft0|rdma/i.test(name)),
      [],
    );
  });
}
