// A cluster on one laptop: a nats-server, two nodes, a workflow, a client. It kills one node, and no request fails.
//
//   node examples/cluster/cluster.mjs                         (apt-get install nats-server)
//
// docs/cluster.md does the same by hand, with the command line, and on several machines.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ClusterPipeline, deploy, overview, undeploy, whenReleased } from 'onepiece-rdma/cluster';
import { natsControlStore } from 'onepiece-rdma/control';
import { primes } from './primes.mjs';

/** @typedef {import('node:child_process').ChildProcess} ChildProcess */

const LEASE_MS = 1000; // after so long without a sign a node counts as lost
const folder = mkdtempSync(join(tmpdir(), 'onepiece-laptop-'));
const secret = randomBytes(32).toString('hex');
const secretFile = join(folder, 'secret');
writeFileSync(secretFile, secret, { mode: 0o600 });
/** What was started here, and is ended here. @type {ChildProcess[]} */
const children = [];

/** @param {string} command @param {string[]} args */
async function start(command, args) {
  const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  await once(child, 'spawn'); // rejects with ENOENT when there is no such program
  children.push(child);
  return child;
}

/** A port on which nobody listens now. */
async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  server.close();
  await once(server, 'close');
  return port;
}

/** Starts a nats-server with JetStream in a folder of its own; answers its URL once it listens. */
async function startNats() {
  const port = await freePort();
  const log = join(folder, 'nats.log');
  const nats = await start('nats-server', [
    '-js',
    '-sd',
    join(folder, 'nats'),
    '-a',
    '127.0.0.1',
    '-p',
    `${port}`,
    '-l',
    log,
  ]);
  for (let i = 0; i < 500 && nats.exitCode === null; i++) {
    const socket = connect(port, '127.0.0.1');
    const isThere = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (isThere) return `nats://127.0.0.1:${port}`;
    await sleep(20);
  }
  throw new Error(`nats-server did not start:\n${readFileSync(log, 'utf8')}`);
}

/**
 * Starts a node as on a machine of its own: by the command line.
 *
 * @param {string} url @param {string} name
 */
async function startNode(url, name) {
  const manifest = createRequire(import.meta.url).resolve('onepiece-rdma/package.json');
  const command = join(dirname(manifest), 'lib/cli/main.js');
  const options = ['--control', url, '--secret-file', secretFile, '--name', name, '--devices', 'soft0'];
  return await start(process.execPath, [command, 'node', ...options, '--lease-ms', `${LEASE_MS}`]);
}

async function main() {
  const url = await startNats();
  const nodes = { a: await startNode(url, 'a'), b: await startNode(url, 'b') };
  const control = await natsControlStore({ servers: url });
  try {
    // Any process can deploy: it is one write to the control store. The controller of some node does the rest.
    const deployed = await deploy(control, primes);
    await whenReleased(control, deployed);
    const pipeline = await ClusterPipeline.connect(control, { app: primes.name, secret, leaseMs: LEASE_MS });
    try {
      const { apps } = await overview(control);
      for (const { place, node } of apps[0]?.places ?? []) console.log(`${place} is on node ${node}`);
      const answers = Array.from({ length: 10 }, (_, i) => pipeline.run({ meta: { below: 1000 * (i + 1) } }));
      await sleep(100);
      nodes.a.kill('SIGKILL'); // as when the machine loses power
      console.log('killed node a');
      for (const { outputs } of await Promise.all(answers)) {
        console.log(`${outputs[0]?.meta.primes} primes below ${outputs[0]?.meta.below}`);
      }
    } finally {
      await pipeline.close();
      await undeploy(control, primes.name); // its processes end
    }
  } finally {
    await control.close();
  }
}

/** Ends what was started, the newest first: nodes before their nats-server. */
async function end() {
  for (const child of children.reverse()) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGTERM');
    await once(child, 'exit');
  }
  rmSync(folder, { recursive: true, force: true });
}

try {
  await main();
} catch (error) {
  const isMissing = /** @type {NodeJS.ErrnoException} */ (error).syscall === 'spawn nats-server';
  console.error(isMissing ? 'nats-server is not installed: apt-get install nats-server' : error);
  process.exitCode = 1;
} finally {
  await end();
}
