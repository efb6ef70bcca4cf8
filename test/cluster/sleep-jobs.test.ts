// Proves that jobs of a durable store wake a workflow that sleeps, and are done, also where the gateway that took them
// leaves before a stage is awake.
import t from 'tap';
import type { ClusterPipeline } from '../../src/ts/cluster/index.js';
import { redisStore } from '../../src/ts/jobs/index.js';
import { NO_REDIS, RedisServer } from '../jobs/redis-server.js';
import { within } from '../pipeline/support.js';
import { SleepCluster } from './sleep-cluster.js';

void t.test('jobs wake what sleeps, whoever has taken them', { skip: NO_REDIS ?? false }, async (t) => {
  const server = await RedisServer.start();
  t.teardown(() => server.stop());
  const cluster = await SleepCluster.start(t);
  const connect = async () => {
    const store = await redisStore(server.url);
    return cluster.connect({ store, jobLeaseMs: 1000 }, () => store.close());
  };
  const submit = async (pipeline: ClusterPipeline, ids: readonly number[]) => {
    for (const n of ids) await within('the submit', pipeline.submit({ meta: { n } }, { id: `job-${n}` }), 20_000);
  };
  const finished = async (pipeline: ClusterPipeline, ids: readonly number[]) => {
    for (const n of ids) {
      const job = await pipeline.job(`job-${n}`);
      const { outputs } = await within(`the result of job ${n}`, job.result(), 60_000);
      t.equal(outputs[0]?.meta.n, 10 * (n + 1));
      t.match(await job.record(), { state: 'done', attempts: 1 });
    }
  };

  const first = await connect();
  await cluster.sleeps(first);
  t.equal(cluster.processes, 0);
  await submit(first, [1, 2, 3, 4]);
  await finished(first, [1, 2, 3, 4]);

  // The gateway that took them leaves while nothing is awake, and another one is there.
  const second = await connect();
  await cluster.sleeps(second);
  await submit(first, [5, 6]);
  await within('the close', first.close(), 20_000);
  await finished(second, [5, 6]);

  // No gateway is left at all; the next one finds the jobs in the store.
  await cluster.sleeps(second);
  await submit(second, [7, 8]);
  await within('the close', second.close(), 20_000);
  const third = await connect();
  await finished(third, [7, 8]);
  await cluster.sleeps(third);
});
