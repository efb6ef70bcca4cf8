// Proves that a runtime which cannot run the addon is refused in words before it is loaded, and that the error for a
// missing addon names what helps where it is missing.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { checkRuntime, packageRoot } from '../../src/ts/addon/load.js';

const node = { node: '20.0.0', v8: '11' };

void t.test('Node.js on Linux is taken, from the first version that is tested', async (t) => {
  for (const version of ['20.0.0', '22.1.0', '24.0.0', '100.0.0']) checkRuntime('linux', { node: version });
  t.doesNotThrow(() => checkRuntime(process.platform, process.versions));
});

const refused: [string, string, Record<string, string>, RegExp, RegExp][] = [
  ['Bun', 'linux', { ...node, bun: '1.4.5' }, /does not run in Bun 1\.4\.5: .*libuv/, /with Node\.js/],
  ['Deno', 'linux', { ...node, deno: '2.9.6' }, /does not run in Deno 2\.9\.6: .*libuv/, /with Node\.js/],
  ['Electron', 'linux', { ...node, electron: '40.0.0' }, /does not run in Electron 40\.0\.0/, /with Node\.js/],
  ['macOS', 'darwin', node, /runs on Linux, not on darwin/, /Linux container/],
  ['Windows', 'win32', node, /runs on Linux, not on win32/, /Linux container/],
  ['an older Node.js', 'linux', { node: '18.20.8' }, /Node\.js 18\.20\.8/, /20 or later/],
  ['no Node.js at all', 'linux', {}, /Node\.js/, /20 or later/],
];

for (const [name, platform, versions, words, remedy] of refused) {
  void t.test(`${name} is refused, with what to do`, async (t) => {
    t.throws(() => checkRuntime(platform, versions), { code: 'RDMA_ERR_NOT_SUPPORTED', message: words, remedy });
  });
}

/** Opens a device in a process of its own, which first runs `before`; answers the error as JSON. */
function openWith(before: string, env: Record<string, string> = {}) {
  const program = `${before};
    try { require('./lib/verbs').Device.open('soft0').close(); console.log('{}'); }
    catch (error) { console.log(JSON.stringify(error)); }`;
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', program], {
    ...{ cwd: packageRoot(), encoding: 'utf8' },
    env: { ...process.env, ...env },
  });
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout) as { code?: string; message?: string; remedy?: string };
}

void t.test('the addon is not even looked for in a runtime that is refused', async (t) => {
  const before = `Object.defineProperty(process.versions, 'bun', { value: '1.4.5' });
    process.dlopen = () => { process.abort(); }`;
  t.match(openWith(before), { code: 'RDMA_ERR_NOT_SUPPORTED', message: /Bun/ });
});

void t.test('where this package has no addon, the remedy is a command that exists and builds one', async (t) => {
  const { code, remedy } = openWith('', { PREBUILDS_ONLY: '1', npm_config_arch: 'none', ONEPIECE_RDMA_PREBUILD: '' });
  t.equal(code, 'RDMA_ERR_NATIVE_MISSING');
  const script = /^build it here: node (\S+); /.exec(remedy ?? '')?.[1];
  t.equal(script, path.join(packageRoot(), 'scripts/build-native.mjs'));
  const { files } = JSON.parse(fs.readFileSync(path.join(packageRoot(), 'package.json'), 'utf8')) as {
    files: string[];
  };
  t.ok(files.includes('scripts/build-native.mjs'), 'it is in the package');
});

void t.test('where ONEPIECE_RDMA_PREBUILD names a folder without an addon, the remedy is about that', async (t) => {
  const folder = t.testdir();
  const { code, message, remedy } = openWith('', { ONEPIECE_RDMA_PREBUILD: folder });
  t.equal(code, 'RDMA_ERR_NATIVE_MISSING');
  t.ok(message?.includes(folder), String(message));
  t.match(remedy, /ONEPIECE_RDMA_PREBUILD .* or unset it$/);
});

void t.test('an addon that does not load is named with the words of the loader', async (t) => {
  const folder = t.testdir({ build: { Release: { 'onepiece.node': 'no program' } } });
  const { code, message } = openWith('', { ONEPIECE_RDMA_PREBUILD: folder });
  t.equal(code, 'RDMA_ERR_NATIVE_MISSING');
  t.match(message, /file too short|invalid ELF header/);
});
