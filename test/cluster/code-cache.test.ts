// Proves that a cache of compiled code never changes what runs: it is used when it is whole and this user's own,
// replaced when it is not, and missed without an error.
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { codeCacheFolder, type CompiledModule, compileModule } from '../../src/ts/cluster/code-cache.js';

const root = mkdtempSync(join(tmpdir(), 'code-cache-'));
t.teardown(() => rmSync(root, { recursive: true, force: true }));

let programs = 0;
/** A program that no other test has compiled: V8 has a cache of its own in the process. */
const program = () => Buffer.from(`exports.answer = function answer() { return ${++programs}; };`);

function answerOf({ run }: CompiledModule): number {
  const module = { exports: {} as { answer: () => number } };
  run(module.exports, require, module, __filename, __dirname);
  return module.exports.answer();
}

/** Compiles, runs and keeps; answers whether it came from the cache. */
function use(source: Buffer, folder: string | undefined): boolean {
  const compiled = compileModule('/program.js', source, folder);
  t.equal(answerOf(compiled), programs);
  compiled.keep('started');
  return compiled.cached;
}

const filesIn = (folder: string) => readdirSync(folder).map((name) => join(folder, name));

void t.test('the second use takes what the first one kept; another program does not', async (t) => {
  const folder = join(root, 'two/uses');
  const source = program();
  t.equal(use(source, folder), false);
  t.equal(use(source, folder), true);
  t.equal(filesIn(folder).length, 1);
  t.equal(use(program(), folder), false, 'of the same length');
  t.equal(filesIn(folder).length, 2);
});

void t.test('what was kept after work is taken rather than what was kept at the start', async (t) => {
  const folder = join(root, 'moments');
  const source = Buffer.from(`exports.answer = function answer() { return ${++programs}; }; // ${'x'.repeat(50)}`);
  const first = compileModule('/program.js', source, folder);
  first.keep('started');
  t.equal(answerOf(first), programs);
  first.keep('worked');
  const [started = 0, worked = 0] = filesIn(folder)
    .sort()
    .map((file) => readFileSync(file).length);
  t.ok(worked > started, `${worked} and ${started} bytes: the function was compiled meanwhile`);
  const second = compileModule('/program.js', source, folder);
  t.equal(second.cached, true);
  rmSync(filesIn(folder).sort()[0]!);
  second.keep('started');
  second.keep('worked');
  t.equal(filesIn(folder).length, 1, 'nothing better is written again');
  rmSync(filesIn(folder)[0]!);
  const third = compileModule('/program.js', source, folder);
  t.equal(third.cached, false);
});

const damages: [string, (file: string) => void][] = [
  ['a byte has changed', (file) => flip(file, 100)],
  ['its end is missing', (file) => writeFileSync(file, readFileSync(file).subarray(0, 200))],
  ['it is empty', (file) => writeFileSync(file, '')],
  ['others may write it', (file) => chmodSync(file, 0o666)],
];

function flip(file: string, at: number): void {
  const bytes = readFileSync(file);
  bytes[at]! ^= 1;
  writeFileSync(file, bytes);
}

for (const [i, [name, damage]] of damages.entries()) {
  void t.test(`a file is not used when ${name}, and is replaced`, async (t) => {
    const folder = join(root, `damaged-${i}`);
    const source = program();
    use(source, folder);
    damage(filesIn(folder)[0]!);
    t.equal(use(source, folder), false);
    t.equal(use(source, folder), true);
  });
}

void t.test('a folder that others may write is not written to', async (t) => {
  const folder = join(root, 'shared');
  const source = program();
  use(source, folder);
  rmSync(filesIn(folder)[0]!);
  chmodSync(folder, 0o777);
  t.equal(use(source, folder), false);
  t.same(filesIn(folder), []);
});

void t.test('without a folder, or where there can be none, each use compiles', async (t) => {
  const source = program();
  writeFileSync(join(root, 'file'), '');
  for (const folder of [undefined, join(root, 'file/below')]) {
    t.equal(use(source, folder), false);
    t.equal(use(source, folder), false);
  }
});

void t.test('of processes that start together one writes', async (t) => {
  const folder = join(root, 'together');
  const source = program();
  const [first, second] = [1, 2].map(() => compileModule('/program.js', source, folder));
  t.equal(answerOf(first!) + answerOf(second!), 2 * programs);
  first!.keep('started');
  const [file] = filesIn(folder);
  utimesSync(file!, 1, 1);
  second!.keep('started');
  t.same(filesIn(folder), [file]);
  t.equal(compileModule('/program.js', source, folder).cached, true);
});

void t.test('old files are removed', async (t) => {
  const folder = join(root, 'many');
  for (let i = 0; i < 12; i++) use(program(), folder);
  t.equal(filesIn(folder).length, 8);
});

void t.test('the folder is where the user has caches', async (t) => {
  const before = { ...process.env };
  t.teardown(() => Object.assign(process.env, before));
  delete process.env.NODE_DISABLE_COMPILE_CACHE;
  process.env.XDG_CACHE_HOME = '/caches';
  t.equal(codeCacheFolder(), '/caches/onepiece-rdma');
  process.env.XDG_CACHE_HOME = 'relative, which the specification says to ignore';
  t.match(codeCacheFolder(), /^\/.*\/\.cache\/onepiece-rdma$/);
  process.env.NODE_DISABLE_COMPILE_CACHE = '1';
  t.equal(codeCacheFolder(), undefined);
});
