// Proves that the lease flag of `onepiece serve --control` reaches the cluster.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { GATEWAYS, gatewayKey } from '../../src/ts/cluster/cluster-records.js';
import { Controller, deploy } from '../../src/ts/cluster/index.js';
import { versionApp } from '../../src/ts/cluster/release-records.js';
import { natsControlStore } from '../../src/ts/control/index.js';
import { readLeaseRecord } from '../../src/ts/control/lease-record.js';
import { NatsServer, NO_NATS } from '../control/nats-server.js';
import { diamond } from '../pipeline/workflows.js';
import { onepiece, scratch, start } from './command.js';

const SECRET = 'a secret of the cluster';
const MODULE = join(__dirname, '../pipeline/workflows.js');

void t.test('a gateway is missed after as long as its flag says', NO_NATS ? { skip: NO_NATS } : {}, async (t) => {
  const server = await NatsServer.start();
  t.teardown(() => server.stop());
  const folder = scratch();
  const file = join(folder, 'secret');
  writeFileSync(file, SECRET, { mode: 0o600 });
  const words = ['serve', MODULE, '--export', 'diamond', '--memory', '--port', '0'];
  const cluster = ['--control', server.url, '--secret-file', file, '--device', 'soft0'];
  const refused = await onepiece([...words, ...cluster, '--gateway-lease-ms', '100'], folder);
  t.equal(refused.code, 2);
  t.match(refused.stderr, /gateway-lease-ms/);

  const store = await natsControlStore({ servers: server.url });
  const controller = new Controller(store, { name: 'test' });
  const { app, version } = await deploy(store, diamond);
  const limits = ['--gateway-lease-ms', '45000', '--control-timeout-ms', '15000'];
  const { child, ended } = start([...words, ...cluster, ...limits], folder);
  let over = false;
  void ended.then(() => {
    over = true;
  });
  const key = GATEWAYS + gatewayKey(versionApp(app, version), 0);
  let record = readLeaseRecord(await store.get(key));
  while (record === undefined && !over) {
    await sleep(100);
    record = readLeaseRecord(await store.get(key));
  }
  t.equal(record?.leaseMs, 45_000);
  child.kill('SIGKILL');
  await ended;
  await controller.close();
  await store.close();
});
