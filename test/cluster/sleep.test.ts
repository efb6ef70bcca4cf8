// Proves that a workflow to which nothing comes has no process, with real ones, and that what comes then wakes it: held
// until it runs, or refused with the time that the start takes.
import t from 'tap';
import {
  ClusterPipeline,
  Controller,
  deploy,
  listClusterEvents,
  NodeManager,
  replayEvents,
} from '../../src/ts/cluster/index.js';
import { memoryControlStore } from '../../src/ts/control/index.js';
import type { RdmaError } from '../../src/ts/core/errors.js';
import { DEVICE, until, within } from '../pipeline/support.js';
import { LOAD_MS, sleeper } from './sleep-workflow.js';

const own = { secret: 'a secret of the cluster', device: DEVICE, leaseMs: 1000 };

void t.test('a workflow sleeps without processes, and each request wakes it', async (t) => {
  const store = memoryControlStore();
  const troubles: string[] = [];
  const onEvent = (event: { type: string; error?: Error }) => {
    if (event.type === 'trouble') troubles.push(String(event.error));
  };
  const controller = new Controller(store, { name: 'c', leaseMs: own.leaseMs, storeForgets: false, onEvent });
  const has = { host: 'a', cores: 8, memoryBytes: 2 ** 33 };
  const node = await NodeManager.start(store, { name: 'a', has, onEvent, ...own });
  await deploy(store, sleeper);
  const connect = () => ClusterPipeline.connect(store, { app: sleeper.name, ...own });
  const pipelines = [await within('the gateway', connect(), 60_000)];
  t.teardown(async () => {
    for (const each of pipelines) await within('the close of a gateway', each.close(), 20_000);
    await within('the close of the node', node.close(), 20_000);
    await within('the close of the controller', controller.close(), 20_000);
    await store.close();
  });
  const [first] = pipelines as [ClusterPipeline];
  const run = async (pipeline: ClusterPipeline, n: number, timeoutMs?: number) => {
    const options = timeoutMs === undefined ? {} : { timeoutMs };
    const { outputs } = await within('a result', pipeline.run({ meta: { n } }, options), 60_000);
    return outputs[0]?.meta.n;
  };
  const isAsleep = () => {
    const { plan, olderPlans } = first.status();
    return olderPlans.length === 0 && plan.instances.every((list) => list.length === 0);
  };
  const sleeps = async () => {
    await until('a plan without instances', isAsleep, 60_000);
    await until('no process', () => node.processes.length === 0, 30_000);
  };
  // Nothing has ever come: it sleeps as well, after it was tried.
  t.equal(first.status().plan.instances.flat().length, 2);
  await sleeps();
  t.equal(await run(first, 1), 20, 'held until the stages have started');
  t.equal(node.processes.length, 2);
  await sleeps();

  // A request that cannot wait for the start learns how long that takes, and still wakes the stage.
  const refused = (await run(first, 2, 300).catch((error: RdmaError) => error)) as RdmaError;
  t.match(refused, { code: 'RDMA_ERR_REJECTED', cause: { code: 'RDMA_ERR_BUSY' } }, String(refused));
  t.ok(refused.retryAfterMs! >= LOAD_MS, `comes again after ${refused.retryAfterMs} ms`);
  await until('both stages again', () => first.status().plan.instances.flat().length === 2, 60_000);
  t.equal(await run(first, 2), 30);
  await sleeps();

  // A gateway that comes while it sleeps, and several at once.
  pipelines.push(await within('another gateway', connect(), 60_000));
  const many = Array.from({ length: 12 }, (_, n) => run(pipelines[n % 2]!, n));
  t.strictSame(
    await Promise.all(many),
    Array.from({ length: 12 }, (_, n) => 10 * (n + 1)),
  );
  await sleeps();
  const events = (await listClusterEvents(store)).filter(({ type }) => type === 'scale');
  t.match(events[0], { words: /: 1 to 0 instances, nothing comes/ });
  t.match(replayEvents(events), { decisions: events.length, differing: [] });
  t.ok(events.length >= 14, `${events.length} actions`);
  t.strictSame(troubles, []);
});
