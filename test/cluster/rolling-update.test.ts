// Proves that an app changes its version under load without a failed request, whether the new version works or not:
// real worker processes, on two nodes.
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import {
  ClusterPipeline,
  Controller,
  deploy,
  NodeManager,
  overview,
  rollback,
  undeploy,
  whenReleased,
} from '../../src/ts/cluster/index.js';
import { listClusterEvents } from '../../src/ts/cluster/cluster-events.js';
import { memoryControlStore } from '../../src/ts/control/index.js';
import { DEVICE, until, within } from '../pipeline/support.js';
import { APP, VersionModules } from './version-modules.js';

const SECRET = 'a secret of the cluster';
const LEASE_MS = 1000;
/** Of requests that are long enough to be in a version while another one takes over. */
const LONG_MS = 500;

interface Ending {
  teardown: (work: () => Promise<void> | void) => void;
}

async function cluster(t: Ending) {
  const store = memoryControlStore();
  const modules = new VersionModules();
  const controller = new Controller(store, { name: 'c', leaseMs: LEASE_MS, storeForgets: false });
  const nodes: NodeManager[] = [];
  const open: ClusterPipeline[] = [];
  t.teardown(async () => {
    for (const pipeline of open) await within('the close of a gateway', pipeline.close(), 20_000);
    for (const node of nodes) await within('the close of a node', node.close(), 20_000);
    await within('the close of the controller', controller.close(), 20_000);
    await store.close();
    modules.remove();
  });
  for (const name of ['a', 'b']) {
    const has = { host: name, cores: 8, memoryBytes: 2 ** 30 };
    const how = { name, secret: SECRET, device: DEVICE, leaseMs: LEASE_MS, has, maxRestarts: 1 };
    nodes.push(await NodeManager.start(store, how));
  }
  const connect = async () => {
    const how = { app: APP, secret: SECRET, device: DEVICE, leaseMs: LEASE_MS };
    const pipeline = await within('the gateway', ClusterPipeline.connect(store, how), 60_000);
    open.push(pipeline);
    return pipeline;
  };
  return { store, modules, nodes, connect };
}

/** Requests, short and long, plain and as jobs, until stop(). */
class Load {
  readonly wrong: string[] = [];
  /** By the version that has answered. */
  readonly answers = new Map<string, number>();
  finished = 0;
  private next = 0;
  private stopped = false;
  private readonly over: Promise<unknown>;

  constructor(pipelines: readonly ClusterPipeline[]) {
    const client = async (pipeline: ClusterPipeline, ms: number, isJob: boolean) => {
      while (!this.stopped) await this.one(pipeline, ms, isJob);
    };
    const clients = pipelines.flatMap((each) => [
      client(each, 0, false),
      client(each, 5, false),
      client(each, 5, true),
      client(each, LONG_MS, false),
    ]);
    this.over = Promise.all(clients);
  }

  private async one(pipeline: ClusterPipeline, ms: number, isJob: boolean): Promise<void> {
    const n = this.next++;
    const request = { meta: { n, ms } };
    try {
      const run = async () => (isJob ? (await pipeline.submit(request)).result() : pipeline.run(request));
      const { outputs } = await within(`request ${n}`, run(), 60_000);
      const { n: found, first, last } = outputs[0]!.meta;
      if (found !== n || first !== last) this.wrong.push(`${n}: ${JSON.stringify(outputs[0]!.meta)}`);
      this.answers.set(String(last), (this.answers.get(String(last)) ?? 0) + 1);
    } catch (error) {
      this.wrong.push(`${n}: ${String(error)}`);
      this.stopped = true;
    }
    this.finished++;
  }

  async more(what: string, version: string, count = 20): Promise<void> {
    const of = () => this.answers.get(version) ?? 0;
    const before = of();
    await until(`results ${what}`, () => this.stopped || of() > before + count, 60_000);
    if (this.stopped) throw new Error(this.wrong.join('; '));
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await within('the load', this.over, 60_000);
  }
}

void t.test('an update under load, and the way back: no request fails, none is of two versions', async (t) => {
  const { store, modules, nodes, connect } = await cluster(t);
  await deploy(store, modules.make('v1'), { version: 'v1' });
  const pipelines = [await connect(), await connect()];
  const [first] = pipelines as [ClusterPipeline];
  t.equal(first.status().version, 'v1');
  const load = new Load(pipelines);
  await load.more('at first', 'v1');
  const second = await deploy(store, modules.make('v2'), { version: 'v2' });
  t.match(second, { isNew: true, former: 'v1', version: 'v2' });
  t.match(await within('the update', whenReleased(store, second), 60_000), { type: 'current', reason: null });
  await load.more('of the new version', 'v2');
  const versionsOf = async () => (await overview(store)).apps.map(({ version, role }) => `${version} ${role}`);
  const only = async (version: string) => {
    for (;;) {
      const found = await versionsOf();
      if (found.join() === `${version} current`) return;
      await load.more(`until ${found} is ${version} only`, version, 1);
    }
  };
  await within('the end of the old version', only('v2'), 60_000);
  // One that has left closes after its name is gone.
  await until('one gateway each', () => pipelines.every((each) => each.status().versions.length === 1), 30_000);
  await load.more('after the last ones of the old version', 'v2');
  const atSwitch = load.answers.get('v1')!;
  await load.more('of the new version', 'v2');
  t.equal(load.answers.get('v1'), atSwitch, 'nothing goes to the old version any more');
  const same = await deploy(store, modules.make('v2'));
  t.match(same, { isNew: false, version: 'v2', former: null }, 'the same content changes nothing');
  const back = await rollback(store, APP);
  t.match(back, { version: 'v1', former: 'v2' });
  t.match(await within('the rollback', whenReleased(store, back), 60_000), { type: 'current' });
  await load.more('of the version before', 'v1');
  await within('the end of the newer version', only('v1'), 60_000);
  await load.stop();
  t.same(load.wrong, []);
  t.same((await overview(store)).apps[0]!.past, ['v2']);
  const expected = ['deployed', 'deployed', 'switched', 'emptied', 'deployed', 'switched', 'emptied'];
  // They are written after what they tell of.
  const types = async (): Promise<string[]> => {
    const events = (await listClusterEvents(store)).map(({ type }) => type).filter((type) => expected.includes(type));
    return events.length < expected.length ? sleep(20).then(types) : events;
  };
  t.same(await within('the events', types(), 20_000), expected);
  await undeploy(store, APP);
  await until('no process', () => nodes.every((node) => node.processes.length === 0), 30_000);
});

void t.test('updates that fail under load: the version before goes on, and the reason is reported', async (t) => {
  const { store, modules, connect } = await cluster(t);
  await deploy(store, modules.make('v1'), { version: 'v1' });
  const pipeline = await connect();
  const load = new Load([pipeline]);
  await load.more('at first', 'v1');
  const throwing = await deploy(store, modules.make('v2', 'throws'), { version: 'v2' });
  const thrown = await within('the update that throws', whenReleased(store, throwing), 60_000);
  t.match(thrown, { type: 'rolled-back', reason: /(first|last)\/\d on node [ab]: .*the model is not there/ });
  await load.more('after one that throws', 'v1');
  const slow = await deploy(store, modules.make('v3', 'hangs'), { version: 'v3', readyWithinMs: 800 });
  const hung = await within('the update that hangs', whenReleased(store, slow), 60_000);
  t.match(hung, { type: 'rolled-back', reason: /not ready within 800 ms: .*\/0 on node [ab] is starting/ });
  await load.more('after one that hangs', 'v1');
  const lost = modules.make('v4');
  const missing = await deploy(store, lost, { version: 'v4' });
  rmSync(lost.module);
  const gone = await within('the update without code', whenReleased(store, missing), 60_000);
  t.match(gone, { type: 'rolled-back', reason: new RegExp(`on node [ab]: .*${lost.module} cannot be read`) });
  await load.more('after one without code', 'v1');
  await load.stop();
  t.same(load.wrong, []);
  t.same([...load.answers.keys()], ['v1']);
  const [app, ...more] = (await overview(store)).apps.filter(({ role }) => role === 'current');
  t.same(more, []);
  t.match(app, { version: 'v1', past: [], rolledBack: { version: 'v4' } });
  await until('one gateway', () => pipeline.status().versions.length === 1, 30_000);
});
