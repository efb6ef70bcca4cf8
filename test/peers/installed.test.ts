// Proves: what a comparison lacks is said with the line that installs it.
import t from 'tap';
import { findProgram } from '../../src/ts/bench/kit/find-program.js';
import { importPackage, loadPackage, packageVersion } from '../../bench/peers/installed.js';
import { peerNames, peersNamed } from '../../bench/peers/ring/ring-peers.js';

void t.test('a package that is not there names the npm line', async (t) => {
  const wanted = { code: 'RDMA_ERR_INVALID_ARGUMENT', remedy: 'npm install --no-save no-such-package-here' };
  t.throws(() => loadPackage('no-such-package-here'), wanted);
  t.throws(() => packageVersion('no-such-package-here'), wanted);
  t.throws(() => packageVersion('no-such-package-here', true), wanted);
  await t.rejects(importPackage('no-such-package-here'), wanted);
});

void t.test('an ES module is imported, and tells its version without that', async (t) => {
  t.match(packageVersion('p-queue', true), /^\d+\.\d+\.\d+/);
  t.match(await importPackage('p-queue'), { default: Function });
});

void t.test('a package that is there tells its version, whatever it exports', async (t) => {
  for (const name of ['tap', 'fast-check', 'typescript']) t.match(packageVersion(name), /^\d+\.\d+\.\d+/, name);
});

void t.test('a program that is not there names the apt-get line', async (t) => {
  const remedy = 'apt-get install pigeon';
  t.throws(() => findProgram('no-such-program-here', remedy), { code: 'RDMA_ERR_INVALID_ARGUMENT', remedy });
  t.equal(findProgram('sh', remedy).endsWith('/sh'), true);
});

void t.test('names stand for one or several peers, each once', async (t) => {
  const names = (list: string[]) => peersNamed(list).map(({ name }) => name);
  t.strictSame(names(['unix', 'tcp', 'unix']), ['unix', 'tcp']);
  t.strictSame(names(['openmpi', 'openmpi-tcp']), ['openmpi-shm', 'openmpi-tcp']);
  t.equal(names(['all']).length, peerNames.length - 2);
  t.throws(() => peersNamed(['pigeon']), { code: 'RDMA_ERR_INVALID_ARGUMENT', message: /pigeon.*openmpi/ });
});
