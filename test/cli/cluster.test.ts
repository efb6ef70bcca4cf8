// Proves that the commands of a cluster do what they say against a real nats-server, and name what is wrong.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { TlsIdentity } from '../../src/ts/connect/index.js';
import { NatsServer, NO_NATS } from '../control/nats-server.js';
import { onepiece, scratch } from './command.js';

const MODULE = join(__dirname, '../pipeline/workflows.js');

void t.test('what cannot be is named before anything is asked', async (t) => {
  const folder = scratch();
  const [open, short, fine] = ['open', 'short', 'fine'].map((name) => join(folder, name)) as [string, string, string];
  writeFileSync(open, 'a secret that others may read', { mode: 0o644 });
  writeFileSync(short, 'short', { mode: 0o600 });
  writeFileSync(fine, 'a secret of the cluster', { mode: 0o600 });
  const nats = ['--control', 'nats://127.0.0.1:1'];
  const cases: [string[], number, RegExp][] = [
    [['status'], 2, /--control/],
    [['status', '--control', 'http://host'], 2, /no address of a nats-server/],
    [['status', ...nats], 1, /127\.0\.0\.1/],
    [['node', ...nats], 2, /--secret-file/],
    [['node', ...nats, '--secret-file', join(folder, 'none')], 2, /cannot be read/],
    [['node', ...nats, '--secret-file', open], 2, /chmod 600/],
    [['node', ...nats, '--secret-file', short], 2, /8 to 4096/],
    [['node', ...nats, '--secret-file', fine, '--memory', 'lots'], 2, /64G/],
    [['node', ...nats, '--secret-file', fine, '--label', 'x'], 2, /key=value/],
    [['node', ...nats, '--secret-file', fine], 1, /127\.0\.0\.1/],
    [['node', ...nats, '--secret-file', fine, '--devices', 'soft0,soft0'], 2, /each once/],
    [['cluster', 'init', '--dir', join(folder, 'c'), '--node', '../up'], 2, /name of a node/],
    [['cluster', 'certify', 'a', '--dir', join(folder, 'none')], 1, /onepiece cluster init/],
    [['scale', 'app', 'stage', '0', ...nats], 2, /1 to 64/],
    [['deploy', join(folder, 'none.mjs'), ...nats], 2, /cannot be loaded/],
    [['serve', 'demo', '--memory', ...nats], 2, /--secret-file/],
  ];
  for (const [args, code, words] of cases) {
    const ended = await onepiece(args, folder);
    t.equal(ended.code, code, `${args.join(' ')}: ${ended.stderr}`);
    t.match(ended.stderr, words);
    t.equal(ended.stdout, '');
  }
});

void t.test('certificates of a cluster, for its nodes alone', async (t) => {
  const folder = scratch();
  const made = await onepiece(['cluster', 'init', '--dir', 'c', '--node', 'a', '--node', 'b', '--json'], folder);
  t.equal(made.code, 0, made.stderr);
  const document = JSON.parse(made.stdout);
  t.match(document, { schemaVersion: 1, secret: 'c/secret', nodes: { a: 'c/nodes/a', b: 'c/nodes/b' } });
  for (const name of ['a', 'b']) t.doesNotThrow(() => TlsIdentity.read(join(folder, document.nodes[name])));
  const again = await onepiece(['cluster', 'init', '--dir', 'c'], folder);
  t.equal(again.code, 1);
  t.match(again.stderr, /has the authority of a cluster already/);
});

void t.test('deploy, scale, drain, status and undeploy', NO_NATS === undefined ? {} : { skip: NO_NATS }, async (t) => {
  const server = await NatsServer.start();
  t.teardown(() => server.stop());
  const folder = scratch();
  const run = async (code: number, ...args: string[]) => {
    const ended = await onepiece([...args, '--control', server.url, '--json'], folder);
    t.equal(ended.code, code, `${args.join(' ')}: ${ended.stderr}`);
    return code === 0 ? JSON.parse(ended.stdout) : ended.stderr;
  };
  t.match(await run(0, 'status'), { schemaVersion: 1, leader: null, nodes: [], apps: [] });
  const deployed = await run(0, 'deploy', MODULE, '--export', 'diamond');
  t.match(deployed, { schemaVersion: 1, module: MODULE, hash: /^[0-9a-f]{64}$/ });
  t.same(await run(0, 'deploy', MODULE, '--export', 'diamond'), deployed, 'deploying it again is the same');
  await run(0, 'scale', deployed.app, 'scale', '3');
  t.match(await run(1, 'scale', deployed.app, 'none', '3'), /no stage none: it has /);
  t.match(await run(1, 'scale', 'none', 'scale', '3'), /no app none/);
  await run(0, 'drain', 'somewhere');
  await run(0, 'drain', 'somewhere', '--undo');
  t.match(await run(0, 'status'), { apps: [{ name: deployed.app, plan: null, wanted: { scale: 3 }, gateways: [] }] });
  await run(0, 'undeploy', deployed.app);
  t.match(await run(1, 'undeploy', deployed.app), /no app/);
});
