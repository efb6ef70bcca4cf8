// Proves that the commands of a cluster do what they say against a real nats-server, and name what is wrong.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { TlsIdentity } from '../../src/ts/connect/index.js';
import { GATEWAYS, gatewayKey } from '../../src/ts/cluster/cluster-records.js';
import { Controller, whenReleased } from '../../src/ts/cluster/index.js';
import { versionApp } from '../../src/ts/cluster/release-records.js';
import { Members, natsControlStore, systemControlPort } from '../../src/ts/control/index.js';
import { APP, VersionModules } from '../cluster/version-modules.js';
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
    [['node', ...nats, '--secret-file', fine, '--start-timeout-ms', '0'], 2, /start-timeout-ms/],
    [['node', ...nats, '--secret-file', fine, '--gpu-moves', 'many'], 2, /NAME=NUMBER with commas between, or off/],
    [['node', ...nats, '--secret-file', fine, '--gpu-moves', 'moves=1'], 2, /any of perWindow, windowMs/],
    [['node', ...nats, '--secret-file', fine, '--gpu-moves', 'perWindow=4,marginShare=2'], 2, /from 0 to 0\.99/],
    [['node', ...nats, '--secret-file', fine, '--gpu-moves', 'perWindow=4,restMs=500'], 1, /127\.0\.0\.1/],
    [['status', ...nats, '--control-timeout-ms', '1'], 2, /control-timeout-ms/],
    [['cluster', 'init', '--dir', join(folder, 'c'), '--node', '../up'], 2, /name of a node/],
    [['cluster', 'certify', 'a', '--dir', join(folder, 'none')], 1, /onepiece cluster init/],
    [['scale', 'app', 'stage', '0', ...nats], 2, /1 to 64/],
    [['deploy', join(folder, 'none.mjs'), ...nats], 2, /cannot be loaded/],
    [['deploy', 'demo', '--version', 'no name', ...nats], 2, /version/],
    [['deploy', 'demo', '--ready-within', '5', ...nats], 2, /such as 500ms, 90s or 5m/],
    [['rollback', 'clip', '--to', '', ...nats], 2, /version/],
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
  t.match(deployed, { schemaVersion: 1, module: MODULE, hash: /^[0-9a-f]{64}$/, isNew: true, former: null });
  t.equal(deployed.version, deployed.hash.slice(0, 12));
  t.same(await run(0, 'deploy', MODULE, '--export', 'diamond'), { ...deployed, isNew: false }, 'nothing changes');
  t.match(await run(1, 'rollback', deployed.app), /no version to go back to/);
  await run(0, 'scale', deployed.app, 'scale', '3');
  t.match(await run(1, 'scale', deployed.app, 'none', '3'), /no stage none: it has /);
  t.match(await run(1, 'scale', 'none', 'scale', '3'), /no app none/);
  await run(0, 'drain', 'somewhere');
  await run(0, 'drain', 'somewhere', '--undo');
  t.match(await run(0, 'status'), { apps: [{ name: deployed.app, plan: null, wanted: { scale: 3 }, gateways: [] }] });
  await run(0, 'undeploy', deployed.app);
  t.match(await run(1, 'undeploy', deployed.app), /no app/);
});

void t.test('deploy and rollback wait for what becomes of a version', NO_NATS ? { skip: NO_NATS } : {}, async (t) => {
  const server = await NatsServer.start();
  t.teardown(() => server.stop());
  const folder = scratch();
  const modules = new VersionModules();
  t.teardown(() => modules.remove());
  const store = await natsControlStore({ servers: server.url });
  const controller = new Controller(store, {
    name: 'c',
    leaseMs: 3000,
    onEvent: (event) => t.comment(event.type, 'error' in event ? String(event.error) : ''),
  });
  const gateways = new Members(store, { prefix: GATEWAYS, leaseMs: 60_000, port: systemControlPort });
  t.teardown(async () => {
    await gateways.close();
    await controller.close();
    await store.close();
  });
  const run = async (code: number, ...args: string[]) => {
    const ended = await onepiece([...args, '--control', server.url], folder);
    t.equal(ended.code, code, `${args.join(' ')}: ${ended.stderr}`);
    return code === 0 ? ended.stdout : ended.stderr;
  };
  const deployed = async (version: string, code: number, ...more: string[]) => {
    modules.make(version);
    return run(code, 'deploy', modules.fileOf(version), '--version', version, ...more);
  };
  t.match(await deployed('v1', 0), /versioned is deployed, in version v1/);
  // Its command does not wait for a controller, which may not lead yet.
  const first = { app: APP, version: 'v1', release: 1, module: '', hash: '', isNew: true, former: null };
  t.match(await whenReleased(store, { ...first, readyWithinMs: 60_000 }), { type: 'current' });
  t.match(await deployed('v1', 0), /nothing changes: versioned is deployed as version v1 already/);
  t.match(await deployed('v2', 0), /versioned is under version v2 \(no gateway is connected/);
  t.match(await run(0, 'rollback', APP), /versioned is under version v1/);
  t.match(await run(1, 'rollback', APP, '--to', 'v7'), /never under version v7: .*|versions to go back to: v2/);
  // A gateway is at the current version, so another one has to work before it is current.
  const app = versionApp(APP, 'v1');
  await gateways.join(gatewayKey(app, 0), { app, number: 0, address: null, plans: [] });
  t.match(
    await deployed('v3', 1, '--ready-within', '300ms'),
    /v3 of versioned was taken back, v1 goes on: not ready within/,
  );
  t.match(await deployed('v4', 0, '--no-wait'), /v4 of versioned is brought up beside v1/);
  t.match(await run(0, 'status'), /versioned v1: [\s\S]*versioned v4, which is brought up/);
  modules.make('v4', 'works', 'other');
  t.match(await run(1, 'deploy', modules.fileOf('v4'), '--version', 'v4'), /version v4 of versioned is other code/);
  t.match(await run(0, 'rollback', APP), /versioned is deployed, in version v1/, 'what is brought up is given up');
});
