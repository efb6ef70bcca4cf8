// Proves that a cluster follows the load of a stage with real processes: more instances when more comes, fewer when
// less does, and no request fails on the way.
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import {
  ClusterPipeline,
  Controller,
  deploy,
  listClusterEvents,
  NodeManager,
  replayEvents,
  scaleApp,
} from '../../src/ts/cluster/index.js';
import { memoryControlStore } from '../../src/ts/control/index.js';
import { codeOf, DEVICE, until, within } from '../pipeline/support.js';
import { elastic, MAX_INSTANCES } from './scaling-workflow.js';

const SECRET = 'a secret of the cluster';
const LEASE_MS = 1000;
const TASK_MS = 100;

void t.test('a stage has more instances under load, fewer after it, and every request its result', async (t) => {
  const store = memoryControlStore();
  const troubles: string[] = [];
  const onEvent = (event: { type: string; error?: Error }) => {
    if (event.type === 'trouble') troubles.push(String(event.error));
  };
  const controllerOf = (name: string) =>
    new Controller(store, { name, leaseMs: LEASE_MS, storeForgets: false, onEvent });
  let controller = controllerOf('first');
  const has = { host: 'a', cores: 8, memoryBytes: 2 ** 33 };
  const own = { secret: SECRET, device: DEVICE, leaseMs: LEASE_MS };
  const node = await NodeManager.start(store, { name: 'a', has, onEvent, ...own });
  await deploy(store, elastic);
  const pipeline = await within('the gateway', ClusterPipeline.connect(store, { app: elastic.name, ...own }), 60_000);
  t.teardown(async () => {
    await within('the close of the gateway', pipeline.close(), 20_000);
    await within('the close of the node', node.close(), 20_000);
    await within('the close of the controller', controller.close(), 20_000);
    await store.close();
  });
  const count = () => pipeline.status().plan.instances[0]!.length;
  const settled = () => pipeline.status().olderPlans.length === 0;
  t.equal(count(), 1);
  const wrong: string[] = [];
  const requests: Promise<void>[] = [];
  let isOver = false;
  const load = async () => {
    for (let n = 0; !isOver; n++) {
      const answer = pipeline.run({ meta: { n, ms: TASK_MS } }).then(
        ({ outputs }) => {
          if (outputs[0]?.meta.n !== n + 1) wrong.push(JSON.stringify(outputs[0]?.meta));
        },
        (error: Error) => wrong.push(String(error)),
      );
      requests.push(answer.then(() => {}));
      await sleep(TASK_MS / 3);
    }
  };
  // Three times what one instance can do.
  const loading = load();
  await until('three instances', () => count() >= 3, 60_000);
  await until('one plan', settled, 60_000);
  // Another one leads: it goes on with as many.
  const many = count();
  await controller.close();
  controller = controllerOf('second');
  await until('another leader', () => controller.isLeading, 30_000);
  const led = requests.length;
  await until('more requests', () => requests.length > led + 60, 30_000);
  t.ok(count() >= Math.min(many, 3), `${count()} instances after ${many}`);
  isOver = true;
  await loading;
  await within('all results', Promise.all(requests), 60_000);
  await until('one instance', () => count() === 1 && settled(), 60_000);
  await until('one process', () => node.processes.length === 1, 30_000);
  t.strictSame(wrong, []);
  const events = (await listClusterEvents(store)).filter(({ type }) => type === 'scale');
  t.match(events[0], { app: elastic.name, words: /^elastic=\w+\/work: 1 to \d/ });
  t.match(events.at(-1), { words: /to 1 instances/ });
  t.match(replayEvents(events), { decisions: events.length, differing: [] });
  t.equal(await codeOf(scaleApp(store, elastic.name, 'work', 2)), 'RDMA_ERR_CONFLICT', 'its load decides');
  await scaleApp(store, elastic.name, 'work', 2, { fixed: true });
  await until('what was fixed', () => count() === 2 && settled(), 30_000);
  await scaleApp(store, elastic.name, 'work', 'auto');
  await until('its load again', () => count() === 1 && settled(), 60_000);
  t.ok(events.length < 20 && MAX_INSTANCES > 3);
  t.strictSame(troubles, []);
});
