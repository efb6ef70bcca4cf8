// Proves: the dashboard of a cluster shows, in a real browser, its nodes, where places run, what does not fit, what has
// moved and what was decided; while the store is away it says so and shows what it saw last; text from elsewhere is
// never markup.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import Fastify from 'fastify';
import t from 'tap';
import { ClusterEvents } from '../../src/ts/cluster/index.js';
import { APPS, asJson, PLANS } from '../../src/ts/cluster/cluster-records.js';
import { deploy, NodeManager } from '../../src/ts/cluster/index.js';
import { appOf } from '../../src/ts/cluster/release-records.js';
import { type ControlStore, memoryControlStore } from '../../src/ts/control/index.js';
import { RdmaError } from '../../src/ts/core/errors.js';
import { ClusterObserver, clusterPlugin } from '../../src/ts/observe/index.js';
import { makePlan } from '../../src/ts/pipeline/index.js';
import { noBrowser, openBrowser } from '../browser.js';
import { diamond } from '../pipeline/workflows.js';

const HOSTILE = '<img src=x onerror=alert(1)>';
const SHOTS = process.env.ONEPIECE_TEST_SCREENSHOTS;
const has = { host: 'h', cores: 4, memoryBytes: 2 ** 33 };

// A store that can be away.
function breakable(store: ControlStore): { store: ControlStore; isAway: boolean } {
  const box = { isAway: false } as { store: ControlStore; isAway: boolean };
  const check = () => {
    if (box.isAway) throw new RdmaError('RDMA_ERR_PEER_GONE', 'the server is away');
  };
  // Whoever asks while it is away is refused.
  const at = (): ControlStore => {
    check();
    return store;
  };
  box.store = {
    get: async (key) => at().get(key),
    put: async (key, value, how) => at().put(key, value, how),
    delete: async (key, expected) => at().delete(key, expected),
    watch: (prefix, signal) => at().watch(prefix, signal),
    close: () => store.close(),
  };
  return box;
}

async function scene(t: { teardown: (work: () => Promise<void>) => void }) {
  const store = memoryControlStore();
  const box = breakable(store);
  const node = await NodeManager.start(store, { name: 'node-a', secret: 'a secret of the cluster', has });
  // What a controller would make of it.
  const { version, module, hash } = await deploy(store, diamond);
  const { spec, sizes } = diamond;
  const below = appOf(diamond.name, version, { module, hash, spec, sizes }, {});
  await store.put(APPS + below.name, asJson(below));
  const plan = makePlan(
    diamond.spec,
    7,
    diamond.spec.stages.map(() => [0]),
    [0],
  );
  const elsewhere = { node: 'node-gone', run: 'r', epoch: 3, gpus: [] };
  const assignments = Object.fromEntries(diamond.spec.stages.map(({ name }) => [`${name}/0`, elsewhere]));
  const record = { plan, olderPlans: [], assignments, lastEpoch: 3, lost: [], unplaced: [HOSTILE], refused: null };
  await store.put(PLANS + below.name, asJson({ term: 1, holder: 'test', value: record }));
  await new ClusterEvents(store).append({ app: diamond.name, type: 'scale', words: `more ${HOSTILE}` });
  const places: Record<string, { node: string }> = { 'scale/0': { node: 'node-a' } };
  const observer = new ClusterObserver(diamond.name, box.store, { status: () => ({ places: { ...places } }) });
  const app = Fastify({ forceCloseConnections: true });
  await app.register(clusterPlugin(observer));
  const url = await app.listen({ port: 0, host: '127.0.0.1' });
  t.teardown(async () => {
    await app.close();
    await node.close();
    await store.close();
  });
  return { url, box, places };
}

void t.test('the data: nodes, places, what does not fit, moves, decisions; and a store that goes away', async (t) => {
  const { url, box, places } = await scene(t);
  const look = async () => (await fetch(`${url}/v1/cluster`)).json() as Promise<Record<string, unknown>>;
  t.match(await look(), {
    schemaVersion: 1,
    storeFailure: null,
    app: diamond.name,
    leader: null,
    nodes: [{ name: 'node-a', cores: 4 }],
    apps: [{ name: diamond.name, plan: 7, unplaced: [HOSTILE], places: [{ node: 'node-gone', state: 'unknown' }] }],
    moves: [],
    events: [{ sequence: 1, type: 'scale', app: diamond.name }],
  });
  places['scale/0'] = { node: 'node-b' };
  t.match(await look(), { moves: [{ place: 'scale/0', from: 'node-a', to: 'node-b', atMs: Number }] });
  box.isAway = true;
  let last = await look();
  for (let i = 0; i < 100 && last.storeFailure === null; i++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    last = await look();
  }
  t.match(last, { storeFailure: String, nodes: [{ name: 'node-a' }] }, 'what was seen last');
});

void t.test('a store that was never seen is a problem', async (t) => {
  const box = breakable(memoryControlStore());
  box.isAway = true;
  const observer = new ClusterObserver('app', box.store, { status: () => ({ places: {} }) });
  const app = Fastify();
  await app.register(clusterPlugin(observer));
  t.teardown(() => app.close());
  const answer = await app.inject('/v1/cluster');
  t.equal(answer.statusCode, 503);
  t.match(answer.json(), { status: 503, code: /^RDMA_ERR_/, detail: String });
});

void t.test('the page shows it', { skip: noBrowser }, async (t) => {
  const { url, box, places } = await scene(t);
  const browser = await openBrowser(t);
  const page = await browser.newPage();
  const said: string[] = [];
  page.on('console', (message) => said.push(message.text()));
  page.on('pageerror', (error) => said.push(String(error)));
  page.on('dialog', (dialog) => said.push(dialog.message()));
  await page.goto(url);
  const shows = (selector: string, text: string) =>
    page.locator(selector, { hasText: text }).first().waitFor({ timeout: 30_000 });
  await shows('#nodes', 'node-a');
  await shows('#plans', 'plan 7');
  await shows('#places', 'node-gone');
  await shows('#troubles', HOSTILE);
  await shows('#events', HOSTILE);
  await shows('#state', 'Nobody leads.');
  places['scale/0'] = { node: 'node-b' };
  await shows('#moves', 'node-b');
  if (SHOTS !== undefined) {
    mkdirSync(SHOTS, { recursive: true });
    await page.screenshot({ path: join(SHOTS, 'cluster.png'), fullPage: true });
  }
  t.equal(await page.locator('main img').count(), 0, 'text is no markup');
  t.same(said, []);
  box.isAway = true;
  await shows('#state', 'The control store is away');
  await shows('#nodes', 'node-a');
});
