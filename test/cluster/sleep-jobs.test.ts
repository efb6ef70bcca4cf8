// Proves that jobs of a durable store wake a workflow that sleeps, and are done, also where the gateway that took them
// leaves before a stage is awake.
import t from 'tap';
import { ClusterPipeline, Controller, deploy, NodeManager } from '../../src/ts/cluster/index.js';
import { memoryControlStore } from '../../src/ts/control/index.js';
import { redisStore } from '../../src/ts/jobs/index.js';
import { NO_REDIS, RedisServer } from '../jobs/redis-server.js';
import { DEVICE, until, within } from '../pipeline/support.js';
import { sleeper } from './sleep-workflow.js';

const own = { secret: 'a secret of the cluster', device: DEVICE, leaseMs: 1000 };

void t.test('jobs wake what sleeps, whoever has taken them', { skip: NO_REDIS ?? false }, async (t) => {
  const server = await RedisServer.start();
  t.teardown(() => server.stop());
  const control = memoryControlStore();
  const controller = new Controller(control, { name: 'c', leaseMs: own.leaseMs, storeForgets: false });
  const has = { host: 'a', cores: 8, memoryBytes: 2 ** 33 };
  const node = await NodeManager.start(control, { name: 'a', has, ...own });
  await deploy(control, sleeper);
  const closes: (() => Promise<void>)[] = [];
  t.teardown(async () => {
    for (const close of closes) await within('the close of a gateway', close(), 20_000);
    await within('the close of the node', node.close(), 20_000);
    await within('the close of the controller', controller.close(), 20_000);
    await control.close();
  });
  const connect = async () => {
    const store = await redisStore(server.url);
    const options = { app: sleeper.name, ...own, store, jobLeaseMs: 1000 };
    const pipeline = await within('the gateway', ClusterPipeline.connect(control, options), 60_000);
    let closing: Promise<void> | undefined;
    const closeBoth = async () => {
      await pipeline.close();
      await store.close();
    };
    const close = () => (closing ??= closeBoth());
    closes.push(close);
    return { pipeline, close };
  };
  const sleeps = async ({ pipeline }: { pipeline: ClusterPipeline }) => {
    const isAsleep = () => {
      const { plan, olderPlans } = pipeline.status();
      return olderPlans.length === 0 && plan.instances.every((list) => list.length === 0);
    };
    await until('a plan without instances', isAsleep, 60_000);
    await until('no process', () => node.processes.length === 0, 30_000);
  };
  const submit = async ({ pipeline }: { pipeline: ClusterPipeline }, ids: readonly number[]) => {
    for (const n of ids) await within('the submit', pipeline.submit({ meta: { n } }, { id: `job-${n}` }), 20_000);
  };
  const finished = async ({ pipeline }: { pipeline: ClusterPipeline }, ids: readonly number[]) => {
    for (const n of ids) {
      const job = await pipeline.job(`job-${n}`);
      const { outputs } = await within(`the result of job ${n}`, job.result(), 60_000);
      t.equal(outputs[0]?.meta.n, 10 * (n + 1));
      t.match(await job.record(), { state: 'done', attempts: 1 });
    }
  };

  const first = await connect();
  await sleeps(first);
  t.equal(node.processes.length, 0);
  await submit(first, [1, 2, 3, 4]);
  await finished(first, [1, 2, 3, 4]);

  // The gateway that took them leaves while nothing is awake, and another one is there.
  const second = await connect();
  await sleeps(second);
  await submit(first, [5, 6]);
  await within('the close', first.close(), 20_000);
  await finished(second, [5, 6]);

  // No gateway is left at all; the next one finds the jobs in the store.
  await sleeps(second);
  await submit(second, [7, 8]);
  await within('the close', second.close(), 20_000);
  const third = await connect();
  await finished(third, [7, 8]);
  await sleeps(third);
});
