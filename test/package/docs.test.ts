// Proves: each example in docs/verbs.md, docs/ring.md and the comments of the sources runs as it is printed, and prints
// what its last comments say.
import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { packageRoot } from '../../src/ts/addon/native.js';

const root = packageRoot();
// Below the package, so that its name resolves to the build in lib/.
const folder = join(root, 'build-test', `docs-${process.pid}`);
mkdirSync(folder, { recursive: true });
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const pages = ['verbs', 'ring'].map((page) => readFileSync(join(root, `docs/${page}.md`), 'utf8'));
const sources = readdirSync(join(root, 'src/ts'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => readFileSync(join(root, 'src/ts', name), 'utf8').replace(/^ *\* ?/gm, ''))
  .filter((text) => text.includes('```'));
const text = [...pages, ...sources].join('\n');
const examples = [...text.matchAll(/```js\n\/\/ (\S+)\n([\s\S]*?)```/g)];

void t.test('there are examples of both levels, and in comments, and each can be run', async (t) => {
  t.ok(examples.length >= 6);
  t.ok(sources.length >= 1);
  t.equal(text.split('```js\n').length - 1, examples.length, 'one without a name is never run');
});

for (const [, name, code] of examples) {
  void t.test(`${name} prints what it says`, async (t) => {
    const file = join(folder, name!);
    writeFileSync(file, code!);
    const expected = [...code!.matchAll(/^\/\/ prints: (.*)$/gm)].map(([, line]) => line);
    t.ok(expected.length > 0);
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [file], { timeout: 60_000 });
    t.same(stdout.trimEnd().split('\n'), expected);
    t.equal(stderr, '');
  });
}
