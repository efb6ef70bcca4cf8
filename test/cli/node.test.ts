// Proves that the flags of `onepiece node` reach the places that it runs.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ClusterPipeline, deploy } from '../../src/ts/cluster/index.js';
import { natsControlStore } from '../../src/ts/control/index.js';
import { NatsServer, NO_NATS } from '../control/nats-server.js';
import { diamond } from '../pipeline/workflows.js';
import { scratch, start } from './command.js';

const SECRET = 'a secret of the cluster';

void t.test('its stages have as long to start as its flag says', NO_NATS ? { skip: NO_NATS } : {}, async (t) => {
  const server = await NatsServer.start();
  t.teardown(() => server.stop());
  const store = await natsControlStore({ servers: server.url });
  const folder = scratch();
  const file = join(folder, 'secret');
  writeFileSync(file, SECRET, { mode: 0o600 });
  const { app } = await deploy(store, diamond);
  // No process starts within a millisecond.
  const limits = ['--start-timeout-ms', '1', '--control-timeout-ms', '5000'];
  const words = ['node', '--control', server.url, '--secret-file', file, '--devices', 'soft0', '--json'];
  const { child, ended } = start([...words, ...limits], folder);
  const enough = new AbortController();
  const connecting = ClusterPipeline.connect(store, { app, secret: SECRET, devices: ['soft0'], signal: enough.signal });
  const rejected = t.rejects(connecting);
  const reason = await new Promise<string>((resolve) => {
    let said = '';
    child.stdout!.on('data', (text: string) => {
      said += text;
      const line = said.split('\n').find((each) => each.includes('"event":"restart"') && each.endsWith('}'));
      if (line !== undefined) resolve(JSON.parse(line).reason);
    });
    void ended.then(({ stderr }) => resolve(`the node ended: ${stderr}`));
  });
  t.equal(reason, 'it was not ready within 1 ms');
  enough.abort();
  await rejected;
  child.kill('SIGKILL');
  await ended;
  await store.close();
});
