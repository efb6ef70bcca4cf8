// Proves that a process ends when it exits during a commit, with its exit code and its last words, and that every
// record whose put() answered is in the store.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { lmdbStore } from '../../src/ts/jobs/index.js';

for (const [how, code, words] of [
  ['exit', 7, /^$/],
  ['throw', 1, /nobody catches this/],
] as const) {
  void t.test(`a process that ends by ${how} during a commit ends`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'onepiece-exit-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const child = spawn(process.execPath, [join(__dirname, 'exit-main.js'), folder, how]);
    t.teardown(() => child.kill('SIGKILL'));
    const said = { out: '', error: '' };
    child.stdout.on('data', (data) => {
      said.out += String(data);
    });
    child.stderr.on('data', (data) => {
      said.error += String(data);
    });
    // Without a bound of its own it would never end: any bound shows that.
    const late = setTimeout(() => child.kill('SIGKILL'), 30_000);
    t.strictSame(await once(child, 'close'), [code, null]);
    clearTimeout(late);
    t.equal(said.out, 'the last words\n');
    t.match(said.error, words);
    const store = await lmdbStore(folder);
    t.teardown(() => store.close());
    t.ok(await store.get('stored'), 'a put() that answered is there');
  });
}
