// Proves what operators' orders write, and that the controller takes them up: no node, and a store in memory.
import t from 'tap';
import {
  Controller,
  deploy,
  overview,
  rollback,
  scaleApp,
  undeploy,
  whenReleased,
} from '../../src/ts/cluster/index.js';
import { markOf } from '../../src/ts/cluster/app-records.js';
import { APPS, PLANS } from '../../src/ts/cluster/cluster-records.js';
import { VERSIONS } from '../../src/ts/cluster/release-records.js';
import { type ControlStore, memoryControlStore } from '../../src/ts/control/index.js';
import { codeOf, within } from '../pipeline/support.js';
import { APP, VersionModules } from './version-modules.js';

function setUp(t: { teardown: (work: () => Promise<void>) => void }) {
  const store = memoryControlStore();
  const modules = new VersionModules();
  const controllers: Controller[] = [];
  t.teardown(async () => {
    for (const controller of controllers) await controller.close();
    await store.close();
    modules.remove();
  });
  const lead = () => {
    controllers.push(new Controller(store, { name: 'c', leaseMs: 1000, storeForgets: false }));
    return controllers.at(-1)!;
  };
  return { store, modules, lead };
}

async function keysOf(store: ControlStore, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const event of store.watch(prefix, new AbortController().signal)) {
    if (event.type === 'synced') break;
    if (event.type === 'put' && event.entry.key !== markOf(prefix)) keys.push(event.entry.key);
  }
  return keys.sort();
}

void t.test('without a controller, orders are kept', async (t) => {
  const { store, modules, lead } = setUp(t);
  const first = await deploy(store, modules.make('v1'));
  t.match(first, { app: APP, version: first.hash.slice(0, 12), release: 1, isNew: true, former: null });
  t.match(await deploy(store, modules.make('v1')), { isNew: false, release: 1 }, 'the same changes nothing');
  await scaleApp(store, APP, 'last', 3);
  t.match((await overview(store)).apps, [
    { name: APP, version: first.version, plan: null, wanted: { first: 2, last: 3 } },
  ]);
  const second = await deploy(store, modules.make('v2'), { version: 'v2' });
  t.match(second, { version: 'v2', release: 2, isNew: true });
  lead();
  t.match(await within('the second', whenReleased(store, second)), { type: 'current', version: 'v2' });
  t.match((await overview(store)).apps, [{ version: 'v2', role: 'current', wanted: { first: 2, last: 3 } }]);
  t.equal(await codeOf(rollback(store, APP)), 'RDMA_ERR_NOT_FOUND', 'the first was never taken up');
});

void t.test('versions come and go back, and leave nothing when the app is removed', async (t) => {
  const { store, modules, lead } = setUp(t);
  const leader = lead();
  for (const version of ['v1', 'v2', 'v3']) {
    const deployed = await deploy(store, modules.make(version), { version });
    t.match(await within(version, whenReleased(store, deployed)), { type: 'current', version });
  }
  t.same(await keysOf(store, APPS), [`${APPS}${APP}=v3`]);
  const back = await rollback(store, APP);
  t.match(back, { version: 'v2', former: 'v3', isNew: true });
  t.match(await within('the way back', whenReleased(store, back)), { type: 'current' });
  t.match(await rollback(store, APP, { to: 'v2' }), { isNew: false, version: 'v2', former: null });
  // Another one leads, and goes on from the same records.
  await leader.close();
  lead();
  const further = await rollback(store, APP, { to: 'v1' });
  t.match(await within('the way further back', whenReleased(store, further)), { type: 'current', version: 'v1' });
  t.match((await overview(store)).apps, [{ version: 'v1', past: ['v2', 'v3'] }]);
  await scaleApp(store, APP, 'first', 5);
  await undeploy(store, APP);
  const isEmpty = async (): Promise<boolean> => {
    const keys = await Promise.all([APPS, PLANS, VERSIONS].map((prefix) => keysOf(store, prefix)));
    return keys.flat().length === 0 || new Promise((resolve) => setTimeout(() => resolve(isEmpty()), 20));
  };
  t.ok(await within('an empty store', isEmpty(), 20_000));
});

void t.test('what cannot be is named', async (t) => {
  const { store, modules, lead } = setUp(t);
  t.equal(await codeOf(rollback(store, APP)), 'RDMA_ERR_NOT_FOUND');
  t.equal(await codeOf(deploy(store, modules.make('v1'), { version: 'a=b' })), 'RDMA_ERR_INVALID_ARGUMENT');
  t.equal(await codeOf(deploy(store, modules.make('v1'), { readyWithinMs: 0 })), 'RDMA_ERR_INVALID_ARGUMENT');
  await deploy(store, modules.make('v1'), { version: 'v1' });
  await t.rejects(deploy(store, modules.make('v1', 'works', 'other'), { version: 'v1' }), {
    code: 'RDMA_ERR_CONFLICT',
    message: /version v1 of versioned is other code/,
    remedy: /--version/,
  });
  lead();
  const second = await deploy(store, modules.make('v2'), { version: 'v2' });
  await within('the second', whenReleased(store, second));
  await t.rejects(rollback(store, APP, { to: 'v9' }), {
    code: 'RDMA_ERR_NOT_FOUND',
    message: /never under version v9/,
  });
  t.equal(await codeOf(scaleApp(store, APP, 'none', 2)), 'RDMA_ERR_NOT_FOUND');
  await undeploy(store, APP);
  t.equal(await codeOf(undeploy(store, APP)), 'RDMA_ERR_NOT_FOUND');
  t.equal(await codeOf(whenReleased(store, second)), 'RDMA_ERR_NOT_FOUND', 'nobody waits for what was removed');
});
