// The native builds. Invariant: three builds, one list of sources, and the same addon from each.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { findRoot } from './root.js';

const root = findRoot();
const text = (name: string) => fs.readFileSync(path.join(root, name), 'utf8');

t.test('sources.txt lists every C++ source of the addon, sorted, and nothing else', async (t) => {
  const listed = text('src/native/sources.txt')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  const present = (fs.readdirSync(path.join(root, 'src/native'), { recursive: true }) as string[])
    .filter((name) => /\.(cc|cpp|cxx|c)$/.test(name) && !/(^|\/)tests?\/|_test\.cc$/.test(name))
    .map((name) => `src/native/${name}`)
    .sort();
  t.same(listed, present);
});

t.test('each build reads that list', async (t) => {
  for (const name of ['binding.gyp', 'CMakeLists.txt', 'scripts/build-native.mjs']) {
    t.match(text(name), /src\/native\/sources\.txt/, name);
    t.notMatch(text(name), /\w\.cc\b/, `${name} names no source itself`);
  }
});

t.test('each build asks for the same language, Node-API version and static runtime', async (t) => {
  for (const name of ['binding.gyp', 'CMakeLists.txt', 'scripts/build-native.mjs']) {
    t.match(text(name), /c\+\+20|CXX_STANDARD 20/, name);
    t.match(text(name), /NAPI_VERSION=8/, name);
    t.match(text(name), /-fno-exceptions/, name);
    t.match(text(name), /-static-libstdc\+\+/, name);
  }
  const { binary } = JSON.parse(text('package.json')) as { binary: { napi_versions: number[] } };
  t.same(binary.napi_versions, [8]);
});

t.test('a build that is up to date compiles nothing', async (t) => {
  const build = () =>
    spawnSync(process.execPath, [path.join(root, 'scripts/build-native.mjs')], { cwd: root, encoding: 'utf8' });
  const first = build();
  t.equal(first.status, 0, first.stderr);
  const again = build();
  t.match(again.stdout, /is up to date/);
});

t.test('a compiler that cannot be run is named, with the remedy', async (t) => {
  const env = { ...process.env, CXX: '/nonexistent/c++' };
  const script = path.join(root, 'scripts/build-native.mjs');
  const result = spawnSync(process.execPath, [script, '--debug'], { cwd: root, encoding: 'utf8', env });
  t.equal(result.status, 1);
  t.match(result.stderr, /CXX=\/nonexistent\/c\+\+ cannot be run/);
  t.match(result.stderr, /apt-get install g\+\+/);
});
