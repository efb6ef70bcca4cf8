// Proves what `onepiece cluster init` leaves on disk: keys for nobody else, and certificates that last as long as
// asked.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { certifyNode, initCluster } from '../../src/ts/cluster/index.js';
import { TlsIdentity } from '../../src/ts/connect/index.js';

const directory = mkdtempSync(join(tmpdir(), 'onepiece-cluster-'));
t.teardown(() => rmSync(directory, { recursive: true, force: true }));
const DAY_MS = 86_400_000;

void t.test('an authority, a secret, and a node', async (t) => {
  const folder = join(directory, 'one');
  const { ca, caKey, secret } = await initCluster(folder);
  const node = await certifyNode(folder, 'node-1', 30);
  for (const file of [caKey, secret, join(node, 'node-key.pem')]) t.equal(statSync(file).mode & 0o777, 0o600, file);
  t.match(readFileSync(secret, 'utf8'), /^[0-9a-f]{64}\n$/);
  const authority = new X509Certificate(readFileSync(ca));
  const own = new X509Certificate(readFileSync(join(node, 'node.pem')));
  t.ok(authority.ca);
  t.notOk(own.ca);
  t.equal(own.subject, 'CN=node-1');
  t.ok(own.verify(authority.publicKey));
  t.ok(own.checkPrivateKey(createPrivateKey(readFileSync(join(node, 'node-key.pem')))));
  const days = (Date.parse(own.validTo) - Date.now()) / DAY_MS;
  t.ok(days > 29 && days <= 30, `${days} days`);
  t.ok(Date.parse(own.validFrom) < Date.now());
  t.doesNotThrow(() => TlsIdentity.read(node));
  await certifyNode(folder, 'node-1');
  t.not(readFileSync(join(node, 'node.pem'), 'utf8'), own.toString(), 'a new one in place of the old one');
  chmodSync(join(node, 'node-key.pem'), 0o640);
  t.throws(() => TlsIdentity.read(node), { code: 'RDMA_ERR_INVALID_ARGUMENT', message: /others may read/ });
});

void t.test('what would shut nodes out, or cannot be, is refused', async (t) => {
  const folder = join(directory, 'two');
  const missing = { code: 'RDMA_ERR_NOT_FOUND', remedy: /onepiece cluster init/ };
  await t.rejects(certifyNode(folder, 'node-1'), missing);
  const { ca } = await initCluster(folder);
  const before = readFileSync(ca, 'utf8');
  await t.rejects(initCluster(folder), { code: 'RDMA_ERR_CONFLICT' });
  t.equal(readFileSync(ca, 'utf8'), before);
  for (const [name, days] of [
    ['../up', 1],
    ['', 1],
    ['a', 0],
    ['a', 3651],
  ] as const) {
    await t.rejects(certifyNode(folder, name, days), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  }
});
