// package.json and its lock. Invariant: what they promise is there, exact, and the same everywhere it is said.
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { findRoot } from './root.js';

interface Conditions {
  types: string;
  default: string;
}

interface Manifest {
  name: string;
  version: string;
  license: string;
  os: string[];
  gypfile: boolean;
  bin: Record<string, string>;
  main: string;
  types: string;
  files: string[];
  exports: Record<string, string | Record<'import' | 'require', Conditions>>;
  scripts: Record<string, string>;
  dependencies: Record<string, string>;
  optionalDependencies: Record<string, string>;
  devDependencies: Record<string, string>;
}

interface LockEntry {
  version?: string;
  resolved?: string;
  integrity?: string;
  optional?: boolean;
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
  bin?: Record<string, string>;
}

const root = findRoot();
const read = <T>(name: string) => JSON.parse(fs.readFileSync(path.join(root, name), 'utf8')) as T;
const manifest = read<Manifest>('package.json');
const lock = read<{ name: string; version: string; lockfileVersion: number; packages: Record<string, LockEntry> }>(
  'package-lock.json',
);

/** Where the lock keeps what a package of it gets when it asks for a name: as Node.js looks, from the inside out. */
function lookUp(from: string, name: string): LockEntry | undefined {
  let at = from;
  for (;;) {
    const found = lock.packages[path.posix.join(at, 'node_modules', name)];
    if (found !== undefined || at === '') return found;
    const cut = at.lastIndexOf('/node_modules/');
    at = cut < 0 ? '' : at.slice(0, cut);
  }
}

t.test('every file that package.json points at exists after the build', async (t) => {
  const targets = Object.values(manifest.exports).flatMap((entry) =>
    typeof entry === 'string' ? [entry] : Object.values(entry).flatMap((conditions) => Object.values(conditions)),
  );
  for (const target of [...targets, ...Object.values(manifest.bin), manifest.main, manifest.types]) {
    t.ok(fs.existsSync(path.join(root, target)), target);
  }
});

t.test('types come before code in every exported subpath, or they are not found', async (t) => {
  for (const [subpath, entry] of Object.entries(manifest.exports)) {
    if (typeof entry === 'string') continue;
    for (const conditions of Object.values(entry)) t.equal(Object.keys(conditions)[0], 'types', subpath);
  }
});

t.test('the command is a program: executable, with a line that names its interpreter', async (t) => {
  for (const file of Object.values(manifest.bin)) {
    const full = path.join(root, file);
    t.equal(fs.statSync(full).mode & 0o111, 0o111, `${file} is executable`);
    t.match(fs.readFileSync(full, 'utf8'), /^#!\/usr\/bin\/env node\n/);
  }
});

t.test('the subpaths give the same names to require and to import', async (t) => {
  for (const [subpath, entry] of Object.entries(manifest.exports)) {
    if (typeof entry === 'string') continue;
    const required = require(path.join(root, entry.require.default)) as Record<string, unknown>;
    const imported = (await import(path.join(root, entry.import.default))) as Record<string, unknown>;
    t.same(Object.keys(imported).sort(), Object.keys(required).sort(), subpath);
    for (const name of Object.keys(required)) t.equal(imported[name], required[name], `${subpath}: ${name}`);
  }
});

t.test('every dependency is pinned to one version', async (t) => {
  const all = { ...manifest.dependencies, ...manifest.optionalDependencies, ...manifest.devDependencies };
  for (const [name, version] of Object.entries(all)) t.match(version, /^\d+\.\d+\.\d+$/, name);
});

t.test('the version and the dependencies are the same in package.json and in its lock', async (t) => {
  const top = lock.packages[''];
  t.equal(lock.version, manifest.version);
  t.equal(top?.version, manifest.version);
  t.equal(lock.name, manifest.name);
  t.same(top?.dependencies, manifest.dependencies);
  t.same(top?.optionalDependencies, manifest.optionalDependencies);
  t.same(top?.devDependencies, manifest.devDependencies);
  t.same(top?.bin, manifest.bin);
  const all = { ...manifest.dependencies, ...manifest.optionalDependencies, ...manifest.devDependencies };
  for (const [name, version] of Object.entries(all)) t.equal(lock.packages[`node_modules/${name}`]?.version, version);
});

t.test('the lock names no host, so it serves every registry', async (t) => {
  t.same(
    Object.entries(lock.packages).filter(([, entry]) => entry.resolved !== undefined),
    [],
  );
  for (const [name, { version }] of Object.entries(lock.packages)) t.match(version, /^\d+\.\d+\.\d+/, name);
});

t.test('the lock is whole: `npm ci` finds every dependency of every package in it', async (t) => {
  const missing = Object.entries(lock.packages).flatMap(([from, { dependencies, optionalDependencies }]) =>
    Object.keys({ ...dependencies, ...optionalDependencies })
      .filter((name) => lookUp(from, name) === undefined)
      .map((name) => `${from || manifest.name} needs ${name}`),
  );
  t.same(missing, []);
});

t.test('the lock vouches for the content of whatever is installed without being optional', async (t) => {
  const unvouched = Object.entries(lock.packages)
    .filter(([name, entry]) => name !== '' && !entry.optional && entry.integrity === undefined)
    .map(([name]) => name);
  t.same(unvouched, []);
});

t.test('nothing runs at the installation of the package', async (t) => {
  for (const name of ['preinstall', 'install', 'postinstall']) t.notOk(name in manifest.scripts, name);
  t.equal(manifest.gypfile, false, 'npm does not call node-gyp in a checkout because of binding.gyp');
  // With a lockfile npm does not see gypfile, and runs node-gyp for every package that has the file.
  const has = (name: string) => manifest.files.some((entry) => name === entry || name.startsWith(`${entry}/`));
  t.notOk(has('binding.gyp'), 'nor in what is installed, which is without it');
});

t.test('what is built in a clone of the repository is in the package that npm makes of it', async (t) => {
  t.equal(manifest.scripts.prepare, 'node scripts/prepare.mjs');
  t.match(fs.readFileSync(path.join(root, 'scripts/prepare.mjs'), 'utf8'), /run\('prebuild\.mjs'\)/);
  t.ok(manifest.files.includes('prebuilds'));
});

t.test('a build in the installed package needs nothing but its dependencies and a compiler', async (t) => {
  for (const name of ['node-addon-api', 'node-api-headers', 'node-gyp-build']) t.ok(manifest.dependencies[name], name);
  const shipped = ['scripts/build-native.mjs', 'scripts/native-inputs.mjs'];
  for (const name of shipped) {
    t.ok(manifest.files.includes(name), name);
    const imports = [...fs.readFileSync(path.join(root, name), 'utf8').matchAll(/from '(\.\/[^']+)'/g)];
    for (const [, file] of imports) t.ok(shipped.includes(path.join('scripts', file!)), `${name} imports ${file}`);
  }
});

t.test('no script is a hook of another one by accident of its name', async (t) => {
  const names = Object.keys(manifest.scripts);
  t.same(
    names.filter((name) => names.some((other) => name === `pre${other}` || name === `post${other}`)),
    [],
  );
});

t.test('the license is the one that package.json names', async (t) => {
  t.equal(manifest.license, 'MIT');
  const text = fs.readFileSync(path.join(root, 'LICENSE'), 'utf8');
  t.match(text, /^MIT License\n\nCopyright \(c\) 2026 The onepiece-rdma authors\n/);
});
