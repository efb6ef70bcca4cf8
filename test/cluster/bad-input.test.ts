// Proves that what people get wrong with a cluster gets a clear error in the right place, and that whatever else runs
// there goes on.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { ClusterPipeline, deploy, NodeManager, overview } from '../../src/ts/cluster/index.js';
import { memoryControlStore, MemoryRecords } from '../../src/ts/control/index.js';
import { DEVICE, failureOf, until, within } from '../pipeline/support.js';
import { BadInputCluster, LEASE_MS, Load, SECRET } from './bad-input-cluster.js';
import { headless, needy, plain } from './bad-input-workflows.js';

void t.test('beside an app that runs', async (t) => {
  const records = new MemoryRecords();
  const cluster = await BadInputCluster.start(t, async () => memoryControlStore(records));
  await cluster.deploy(plain);
  const load = new Load(await cluster.connect('plain'));
  await load.more();

  await t.test('a secret that is wrong, or another cluster’s, is refused before it joins', async (t) => {
    const otherStore = memoryControlStore();
    t.teardown(() => otherStore.close());
    const ownSecret = { name: 'x', secret: 'that of another cluster', devices: [DEVICE], leaseMs: LEASE_MS };
    const other = await NodeManager.start(otherStore, ownSecret);
    t.teardown(() => other.close());
    const words = /the secret is not that of this cluster.*use the secret file of the other nodes/;
    for (const [store, secret] of [
      [await cluster.store(), ownSecret.secret],
      [otherStore, SECRET],
    ] as const) {
      const node = await failureOf(
        NodeManager.start(store, { name: 'b', secret, devices: [DEVICE], leaseMs: LEASE_MS }),
      );
      t.match(node, { code: 'RDMA_ERR_UNAUTHENTICATED', message: words });
      const gateway = await failureOf(ClusterPipeline.connect(store, { app: 'plain', secret, devices: [DEVICE] }));
      t.match(gateway, { code: 'RDMA_ERR_UNAUTHENTICATED', message: words });
    }
    await load.more();
    t.same((await overview(await cluster.store())).apps[0]!.gateways, [0], 'it never was in a plan');
  });

  await t.test('a node that says more memory than its machine has is refused, with both numbers', async (t) => {
    const has = { memoryBytes: 2 ** 50 };
    const start = NodeManager.start(await cluster.store(), { name: 'b', secret: SECRET, devices: [DEVICE], has });
    t.match(await failureOf(start), {
      code: 'RDMA_ERR_INVALID_ARGUMENT',
      message: /shall offer 1024 TiB of memory, and this machine has [\d.]+ [GT]iB/,
    });
    // One that was not started by this package writes what it likes: it is no node, and the others are.
    const store = await cluster.store();
    const record = {
      holder: 'x',
      term: 1,
      beat: 1,
      leaseMs: 600_000,
      data: { memoryBytes: -1, run: 'x' },
      free: false,
    };
    await store.put('nodes.liar', record);
    await until('a trouble', () => cluster.troubles.some((words) => /memoryBytes of node liar/.test(words)));
    await load.more();
  });

  await t.test('of two nodes with one name the second is refused', async (t) => {
    const twin = await failureOf(cluster.addNode('a'));
    t.match(twin, { code: 'RDMA_ERR_CONFLICT', message: /another node with the name a is alive.*a name of its own/ });
    await load.more();
  });

  await t.test('a workflow that names a handler which is not there', async (t) => {
    await cluster.deploy(headless);
    const gateway = await failureOf(cluster.connect('headless', { startTimeoutMs: 4000 }));
    t.match(gateway, { code: 'RDMA_ERR_TIMEOUT', message: /find\/0.*not_there/s });
    await load.more();
  });

  await t.test('a stage that needs more than any node has is reported with numbers, and the rest runs', async (t) => {
    await cluster.deploy(needy);
    const words = /stage large needs 80 GiB of GPU memory; no node has any/;
    const gateway = await failureOf(cluster.connect('needy', { startTimeoutMs: 2000 }));
    t.match(gateway, { code: 'RDMA_ERR_TIMEOUT', message: words });
    const { apps } = await overview(await cluster.store());
    t.match(apps.find(({ name }) => name === 'needy')!.unplaced.join(), words);
    await load.more();
  });

  await t.test('a node without the code of a plan says so, and goes on once it has it', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'onepiece-code-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'late.js');
    const text = `
      const { workflow } = require(${JSON.stringify(require.resolve('../../src/ts/pipeline/index.js'))});
      exports.late = workflow('late', { module: __filename }).stage('say', { handler: () => ({ meta: { said: 1 } }) });
    `;
    writeFileSync(file, text);
    await deploy(await cluster.store(), require(file).late);
    copyFileSync(file, `${file}.kept`);
    rmSync(file);
    const gateway = await failureOf(cluster.connect('late', { startTimeoutMs: 2000 }));
    t.match(gateway, { code: 'RDMA_ERR_TIMEOUT', message: /say\/0 is broken.*late\.js cannot be read on this node/s });
    writeFileSync(file, `${text}// more`);
    const other = await failureOf(cluster.connect('late', { startTimeoutMs: 4000 }));
    t.match(other, { message: /late\.js has other content than what was deployed/ });
    copyFileSync(`${file}.kept`, file);
    const pipeline = await cluster.connect('late');
    const { outputs } = await within('a request', pipeline.run({}));
    t.same(outputs[0]!.meta, { said: 1 });
    await load.more();
  });

  t.same(await load.stop(), [], 'whatever was wrong, the app has answered');
});

/** Loaded before everything else, in the workers too: the wall clock jumps by a day, to and fro, at each look. */
const JUMPS = `
  const RealDate = Date;
  const jump = () => (process.hrtime()[1] % 2 === 0 ? 1 : -1) * 864e5 * (1 + (process.hrtime()[1] % 30));
  globalThis.Date = class extends RealDate {
    constructor(...args) { if (args.length === 0) super(RealDate.now() + jump()); else super(...args); }
    static now() { return RealDate.now() + jump(); }
  };
`;

const PROGRAM = `
  const { LocalCluster } = require(process.argv[1]);
  const { plain } = require(process.argv[2]);
  (async () => {
    const events = [];
    const onEvent = ({ type, error }) => events.push(error === undefined ? type : String(error));
    const cluster = await LocalCluster.start(plain, { device: process.argv[3], onEvent });
    const seen = [];
    const run = async (n) => seen.push((await cluster.pipeline.run({ meta: { n } })).outputs[0].meta.n === n + 1);
    for (let n = 0; n < 100; n++) await run(n);
    process.kill(cluster.processes[0].pid, 'SIGKILL');
    await run(7);
    await cluster.scale('add', 2);
    while (cluster.pipeline.status().plan.instances[0].length !== 2) await new Promise((go) => setTimeout(go, 20));
    for (let n = 0; n < 100; n++) await run(n);
    const words = JSON.stringify({ right: seen.every(Boolean), count: seen.length, events });
    await cluster.close();
    console.log(words);
  })();
`;

void t.test('a wall clock that jumps by days changes nothing', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'onepiece-clock-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const jumps = join(folder, 'jumps.cjs');
  writeFileSync(jumps, JUMPS);
  const files = ['../../src/ts/cluster/index.js', './bad-input-workflows.js'].map((file) => require.resolve(file));
  const args = ['--require', jumps, '-e', PROGRAM, ...files, DEVICE];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 });
  t.equal(status, 0, stderr);
  const { events, ...rest } = JSON.parse(stdout);
  t.same(rest, { right: true, count: 201 });
  t.same(
    events.filter((type: string) => !['joined', 'leading', 'plan'].includes(type)),
    ['restart'],
    'nobody was taken for lost; one was killed',
  );
});
