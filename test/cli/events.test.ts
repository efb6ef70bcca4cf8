// Proves that `onepiece events` shows what a cluster has decided, and makes recorded decisions again.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ClusterEvents, listClusterEvents } from '../../src/ts/cluster/index.js';
import { memoryControlStore, natsControlStore } from '../../src/ts/control/index.js';
import { DEFAULT_SCALE_POLICY, decide } from '../../src/ts/planner/index.js';
import { NatsServer, NO_NATS } from '../control/nats-server.js';
import { onepiece, scratch } from './command.js';

const policy = { ...DEFAULT_SCALE_POLICY, sloMs: 1000 };
const still = { stage: 'work', ready: 1, startingMs: [], slots: 1, running: 1, hintMs: 500, loadMs: 4000 };
const load = { ...still, queued: 30, arrived: 31, served: 0, servedMs: 0, confirmed: 0 };
const scaled = { app: 'clip', type: 'scale', words: 'clip/work: 1 to 9 instances', inputs: decide(load, policy, 1000) };

void t.test('decisions that were recorded are made again', async (t) => {
  const folder = scratch();
  const store = memoryControlStore();
  const events = new ClusterEvents(store);
  await events.append({ app: 'clip', type: 'plan', words: 'clip: plan 1' });
  await events.append(scaled);
  const listed = await listClusterEvents(store);
  const file = join(folder, 'events');
  const write = (list: readonly unknown[]) => writeFileSync(file, list.map((each) => JSON.stringify(each)).join('\n'));
  write(listed);
  const same = await onepiece(['events', '--replay', file], folder);
  t.match(same, { code: 0, stdout: '1 decisions made again, 0 differ\n' });
  const other = structuredClone(listed[1]!) as unknown as { inputs: { load: { queued: number } } };
  other.inputs.load.queued = 0;
  write([listed[0], other]);
  const differs = await onepiece(['events', '--replay', file, '--app', 'clip'], folder);
  t.match(differs, { code: 1, stdout: /^2: was up to \d+ \(\w+\), is \w+ to \d+ \(\w+\)\n1 decisions.*, 1 differ\n/ });
  const document = await onepiece(['events', '--replay', file, '--json'], folder);
  t.match(JSON.parse(document.stdout), { schemaVersion: 1, decisions: 1, differing: [{ sequence: 2 }] });
  t.match(await onepiece(['events', '--replay', file, '--app', 'other'], folder), { code: 0, stdout: /^0 decisions/ });
  write([{ ...listed[1]!, inputs: { type: 'scale' } }]);
  t.match(await onepiece(['events', '--replay', file], folder), { code: 1, stderr: /event 2 cannot be made again/ });
  writeFileSync(file, 'no JSON');
  t.match(await onepiece(['events', '--replay', file], folder), { code: 2, stderr: /line 1 of .* is no JSON/ });
  t.match(await onepiece(['events', '--replay', join(folder, 'none')], folder), { code: 2, stderr: /cannot be read/ });
  t.match(await onepiece(['events'], folder), { code: 2, stderr: /--control URL, or --replay FILE/ });
});

void t.test('events are shown, one app’s or all', NO_NATS === undefined ? {} : { skip: NO_NATS }, async (t) => {
  const server = await NatsServer.start();
  t.teardown(() => server.stop());
  const folder = scratch();
  const store = await natsControlStore({ servers: server.url });
  t.teardown(() => store.close());
  const events = new ClusterEvents(store);
  await events.append({ app: 'other', type: 'deployed', words: 'other is deployed' });
  await events.append(scaled);
  const where = ['events', '--control', server.url];
  const all = await onepiece(where, folder);
  t.match(all, { code: 0, stdout: /1 deployed {4}other is deployed\n.* 2 scale {7}clip\/work: 1 to 9 instances\n$/ });
  const one = await onepiece([...where, '--app', 'clip', '--json'], folder);
  t.strictSame(JSON.parse(one.stdout), JSON.parse(JSON.stringify((await listClusterEvents(store))[1])));
});
