// Proves that a cluster whose nats-server is full, has lost its bucket or wants other credentials loses no request,
// says what is wrong, and goes on by itself when that is over.
import t from 'tap';
import { deploy, scaleApp } from '../../src/ts/cluster/index.js';
import { type ControlStore, natsControlStore } from '../../src/ts/control/index.js';
import { NatsServer, NO_NATS } from '../control/nats-server.js';
import { codeOf, until } from '../pipeline/support.js';
import { BadInputCluster, type Ending, LEASE_MS, Load } from './bad-input-cluster.js';
import { needy, plain } from './bad-input-workflows.js';

const TIMEOUT_MS = 300;
const SKIP = { skip: NO_NATS ?? false };

async function loaded(t: Ending, open: () => Promise<ControlStore>) {
  const cluster = await BadInputCluster.start(t, open);
  await cluster.deploy(plain);
  const pipeline = await cluster.connect('plain');
  const load = new Load(pipeline);
  await load.more();
  const instances = () => pipeline.status().plan.instances[0]!.length;
  return { cluster, pipeline, load, instances };
}

/** Tries until it is done. */
async function done(what: string, work: () => Promise<unknown>): Promise<void> {
  let isDone = false;
  for (let tries = 0; !isDone && tries < 400; tries++) {
    isDone = (await codeOf(work())) === 'ok';
    if (!isDone) await new Promise((resolve) => setTimeout(resolve, 50));
  }
  if (!isDone) throw new Error(`not done: ${what}`);
}

void t.test('a server without room', SKIP, async (t) => {
  const server = await NatsServer.start('', 'max_file_store: 500000');
  t.teardown(() => server.stop());
  const own = { servers: server.url, timeoutMs: TIMEOUT_MS };
  const { cluster, load, instances, pipeline } = await loaded(t, () => natsControlStore(own));
  const store = await cluster.store();
  const codes: string[] = [];
  for (let n = 0; n < 100 && codes.at(-1) !== 'RDMA_ERR_STORE_FULL'; n++)
    codes.push(await codeOf(store.put(`junk.${n}`, new Uint8Array(20_000))));
  t.equal(codes.at(-1), 'RDMA_ERR_STORE_FULL');
  t.equal(await codeOf(deploy(store, needy)), 'RDMA_ERR_STORE_FULL', 'the writer gets the error');
  await until('its status says so', () => pipeline.status().control?.code === 'RDMA_ERR_STORE_FULL', 30_000);
  await new Promise((resolve) => setTimeout(resolve, 2 * LEASE_MS)); // nothing can be renewed
  await load.more();
  // As an operator does it.
  await server.kill();
  server.configure('', 'max_file_store: 50000000');
  await server.run();
  await done('a change', () => scaleApp(store, 'plain', 'add', 2));
  await until('two instances', () => instances() === 2, 30_000);
  await load.more();
  t.same(await load.stop(), []);
});

void t.test('a bucket that is deleted', SKIP, async (t) => {
  const server = await NatsServer.start();
  t.teardown(() => server.stop());
  const own = { servers: server.url, timeoutMs: TIMEOUT_MS };
  const { cluster, load, instances } = await loaded(t, () => natsControlStore(own));
  const store = await cluster.store();
  const { connect } = require('@nats-io/transport-node') as typeof import('@nats-io/transport-node');
  const { jetstreamManager } = require('@nats-io/jetstream') as typeof import('@nats-io/jetstream');
  const client = await connect({ servers: server.url });
  await (await jetstreamManager(client)).streams.delete('KV_onepiece');
  await client.close();
  await load.more();
  // Deployed workflows are still deployed, and can be changed.
  await done('a change', () => scaleApp(store, 'plain', 'add', 2));
  await until('two instances', () => instances() === 2, 30_000);
  await load.more();
  const node = await cluster.addNode('b');
  t.equal(node.info.name, 'b');
  t.same(await load.stop(), []);
});

void t.test('credentials that expire', SKIP, async (t) => {
  const users = (pass: string) => `authorization { user: "node", password: "${pass}" }`;
  const server = await NatsServer.start(users('first'));
  t.teardown(() => server.stop());
  const connection = { user: 'node', pass: 'first' };
  const own = { servers: server.url, timeoutMs: TIMEOUT_MS, connection };
  const { cluster, load, instances, pipeline } = await loaded(t, () => natsControlStore(own));
  const store = await cluster.store();
  server.configure(users('second'));
  server.signal('SIGHUP');
  await until('nobody may any more', () => pipeline.status().control?.code === 'RDMA_ERR_UNAUTHENTICATED', 30_000);
  t.equal(await codeOf(scaleApp(store, 'plain', 'add', 2)), 'RDMA_ERR_UNAUTHENTICATED');
  const late = natsControlStore({ ...own, connectTimeoutMs: 2000 });
  t.equal(await codeOf(late), 'RDMA_ERR_UNAUTHENTICATED', 'a newcomer gets the error at once');
  await new Promise((resolve) => setTimeout(resolve, 2 * LEASE_MS)); // nothing can be renewed
  await load.more();
  server.configure(users('first'));
  server.signal('SIGHUP');
  await done('a change', () => scaleApp(store, 'plain', 'add', 2));
  await until('two instances', () => instances() === 2, 30_000);
  await load.more();
  t.same(await load.stop(), []);
});
