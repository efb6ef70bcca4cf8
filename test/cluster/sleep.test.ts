// Proves that a workflow to which nothing comes has no process, with real ones, and that what comes then wakes it: held
// until it runs, or refused with the time that the start takes.
import t from 'tap';
import { type ClusterPipeline, listClusterEvents, replayEvents } from '../../src/ts/cluster/index.js';
import type { RdmaError } from '../../src/ts/core/errors.js';
import { until, within } from '../pipeline/support.js';
import { SleepCluster } from './sleep-cluster.js';
import { LOAD_MS } from './sleep-workflow.js';

void t.test('a workflow sleeps without processes, and each request wakes it', async (t) => {
  const cluster = await SleepCluster.start(t);
  const first = await cluster.connect();
  const pipelines = [first];
  const run = async (pipeline: ClusterPipeline, n: number, timeoutMs?: number) => {
    const options = timeoutMs === undefined ? {} : { timeoutMs };
    const { outputs } = await within('a result', pipeline.run({ meta: { n } }, options), 60_000);
    return outputs[0]?.meta.n;
  };
  const sleeps = () => cluster.sleeps(first);
  // Nothing has ever come: it sleeps as well, after it was tried.
  t.equal(first.status().plan.instances.flat().length, 2);
  await sleeps();
  t.equal(await run(first, 1), 20, 'held until the stages have started');
  t.equal(cluster.processes, 2);
  await sleeps();

  // A request that cannot wait for the start learns how long that takes, and still wakes the stage.
  const refused = (await run(first, 2, 300).catch((error: RdmaError) => error)) as RdmaError;
  t.match(refused, { code: 'RDMA_ERR_REJECTED', cause: { code: 'RDMA_ERR_BUSY' } }, String(refused));
  t.ok(refused.retryAfterMs! >= LOAD_MS, `comes again after ${refused.retryAfterMs} ms`);
  await until('both stages again', () => first.status().plan.instances.flat().length === 2, 60_000);
  t.equal(await run(first, 2), 30);
  await sleeps();

  // A gateway that comes while it sleeps, and several at once.
  pipelines.push(await cluster.connect());
  const many = Array.from({ length: 12 }, (_, n) => run(pipelines[n % 2]!, n));
  t.strictSame(
    await Promise.all(many),
    Array.from({ length: 12 }, (_, n) => 10 * (n + 1)),
  );
  await sleeps();
  const events = (await listClusterEvents(cluster.control)).filter(({ type }) => type === 'scale');
  t.match(events[0], { words: /: 1 to 0 instances, nothing comes/ });
  t.match(replayEvents(events), { decisions: events.length, differing: [] });
  t.ok(events.length >= 14, `${events.length} actions`);
  t.strictSame(cluster.troubles, []);
});
