// The native builds. Invariant: three builds, one list of sources and one of flags, and the same addon from each.
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
  t.match(text('scripts/build-native.mjs'), /readSources\(\)/);
  for (const name of ['binding.gyp', 'CMakeLists.txt', 'scripts/native-inputs.mjs']) {
    t.match(text(name), /src\/native\/sources\.txt/, name);
  }
  for (const name of ['binding.gyp', 'CMakeLists.txt', 'scripts/native-inputs.mjs', 'scripts/build-native.mjs']) {
    t.notMatch(text(name), /\w\.cc\b/, `${name} names no source itself`);
  }
});

t.test('each build takes its flags from one list: language, Node-API version and static runtime', async (t) => {
  const flags = text('src/native/flags.txt');
  t.match(flags, /^compile -std=c\+\+20$/m);
  t.match(flags, /^define NAPI_VERSION=8$/m);
  t.match(flags, /^compile -fno-exceptions$/m);
  t.match(flags, /^runtime -static-libstdc\+\+$/m);
  const kinds = new Set(flags.split('\n').flatMap((line) => /^([a-z]+) \S+$/.exec(line)?.[1] ?? []));
  t.same([...kinds], ['compile', 'optimize', 'define', 'link', 'runtime']);
  const own = flags
    .split('\n')
    .filter((line) => /^[a-z]/.test(line))
    .map((line) => line.slice(line.indexOf(' ') + 1));
  for (const name of ['binding.gyp', 'CMakeLists.txt', 'test/native/CMakeLists.txt', 'scripts/build-native.mjs']) {
    const build = text(name);
    for (const kind of name.startsWith('test/') ? ['compile', 'link'] : kinds) {
      const reads = new RegExp(`\\^${kind} |ONEPIECE_${kind.toUpperCase()}\\b|readFlags\\('${kind}'\\)`);
      t.match(build, reads, `${name} reads the flags of kind ${kind}`);
    }
    for (const flag of own) t.notOk(build.includes(flag), `${name} does not say ${flag} itself`);
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

t.test('the addon needs no newer glibc than the binaries of Node.js, and no libstdc++', async (t) => {
  const script = path.join(root, 'scripts/glibc-floor.mjs');
  const check = (file: string) => spawnSync(process.execPath, [script, file], { cwd: root, encoding: 'utf8' });
  const addon = check('build/Release/onepiece.node');
  t.equal(addon.status, 0, addon.stderr);
  t.match(addon.stdout, /needs GLIBC_2\.\d+/);

  const folder = t.testdir({ 'new.cc': '#include <string>\nstd::string* f() { return new std::string(64, 0); }' });
  const file = path.join(folder, 'new.node');
  const compiled = spawnSync('c++', ['-shared', '-fPIC', path.join(folder, 'new.cc'), '-o', file], {
    encoding: 'utf8',
  });
  t.equal(compiled.status, 0, compiled.stderr);
  const refused = check(file);
  t.equal(refused.status, 1, 'a library with another libstdc++ is refused');
  t.match(refused.stderr, /it needs .* of GLIBCXX_.*the library libstdc\+\+\.so\.6/);
});

/** Runs a script in a copy of what a build reads, without a compiler. */
function runWithout(directory: string, script: string) {
  const bin = path.join(directory, 'bin');
  fs.mkdirSync(bin, { recursive: true });
  if (!fs.existsSync(path.join(bin, 'node'))) fs.symlinkSync(process.execPath, path.join(bin, 'node'));
  const { CXX: _, ...env } = process.env;
  return spawnSync(process.execPath, [path.join(directory, 'scripts', script)], {
    ...{ cwd: directory, encoding: 'utf8', env: { ...env, PATH: bin } },
  });
}

t.test('without a compiler a prebuilt addon serves, if it was built from the same sources', async (t) => {
  const made = spawnSync(process.execPath, [path.join(root, 'scripts/prebuild.mjs')], { cwd: root, encoding: 'utf8' });
  t.equal(made.status, 0, made.stderr);
  const directory = t.testdir();
  for (const name of ['package.json', 'src/native', 'scripts', 'prebuilds']) {
    fs.cpSync(path.join(root, name), path.join(directory, name), { recursive: true });
  }
  fs.symlinkSync(path.join(root, 'node_modules'), path.join(directory, 'node_modules'));
  for (const script of ['build-native.mjs', 'prebuild.mjs']) {
    const { status, stdout, stderr } = runWithout(directory, script);
    t.equal(status, 0, `${script}: ${stderr}`);
    t.match(stdout, /the prebuilt prebuilds\/.*\.node fits this machine and will be used/);
  }

  fs.mkdirSync(path.join(directory, 'build/Release'), { recursive: true });
  fs.writeFileSync(path.join(directory, 'build/Release/onepiece.node'), 'an old one');
  const hidden = runWithout(directory, 'prebuild.mjs');
  t.equal(hidden.status, 1, 'what is in build/ would be loaded instead');
  t.match(hidden.stderr, /what is in build\/ may be old/);
  fs.rmSync(path.join(directory, 'build'), { recursive: true });

  fs.appendFileSync(path.join(directory, 'src/native/device.h'), '// changed\n');
  const old = runWithout(directory, 'prebuild.mjs');
  t.equal(old.status, 1, 'it is of other sources');
  t.match(old.stderr, /prebuilds\/ has no addon that fits[\s\S]*apt-get install g\+\+/);
});

t.test('a compiler that cannot be run is named, with the remedy', async (t) => {
  const env = { ...process.env, CXX: '/nonexistent/c++' };
  const script = path.join(root, 'scripts/build-native.mjs');
  const result = spawnSync(process.execPath, [script, '--debug'], { cwd: root, encoding: 'utf8', env });
  t.equal(result.status, 1);
  t.match(result.stderr, /CXX=\/nonexistent\/c\+\+ cannot be run/);
  t.match(result.stderr, /apt-get install g\+\+/);
});
