// Proves on every device that a pipeline of processes with fan-out, shards and fan-in answers rightly, and goes on
// doing so when one of its processes is killed. Short: on an emulated machine a process takes seconds to start.
import t from 'tap';
import { LocalPipeline } from '../../src/ts/cluster/index.js';
import { gone } from '../cluster/support.js';
import { DEVICE, until, within } from './support.js';
import { diamond, diamondRequest } from './workflows.js';

t.setTimeout(150_000);

/** In the emulated guest code runs twelve times slower, and slower still beside a busy process on the host. */
const START_TIMEOUT_MS = DEVICE === 'soft0' ? 60_000 : 300_000;

void t.test(`five requests through three stages on ${DEVICE}, with a kill behind the second`, async (t) => {
  const pipeline = await within(
    'the start',
    LocalPipeline.start(diamond, { device: DEVICE, maxInFlight: 2, startTimeoutMs: START_TIMEOUT_MS }),
    30_000,
  );
  const pids = new Set(pipeline.processes.map(({ pid }) => pid));
  t.teardown(() => pipeline.close());
  t.equal(pids.size, 5);
  let victim = 0;
  const requests = [0, 1, 2, 3, 4].map(async (n) => {
    const { request, result } = diamondRequest(n);
    const { outputs, trace } = await within(`request ${n}`, pipeline.run(request, { trace: true }));
    t.same(
      outputs.map(({ stage, instance, meta }) => ({ stage, instance, meta })),
      [{ stage: 'total', instance: 0, meta: result }],
    );
    t.same(trace?.tasks.map(({ stage }) => stage).sort(), ['scale', 'square', 'square', 'total']);
    t.ok(
      trace?.hops.every(({ us, bytes }) => us !== undefined && us >= 0 && bytes > 0),
      'every hop has its time',
    );
    if (n !== 1) return;
    victim = pipeline.processes.find(({ stage }) => stage === 'square')?.pid ?? 0;
    process.kill(victim, 'SIGKILL');
  });
  await Promise.all(requests);
  await until('the restart', () => pipeline.restarts.length === 1);
  t.match(pipeline.restarts, [{ stage: 'square', instance: 0, reason: 'signal SIGKILL' }]);
  for (const { pid } of pipeline.processes) pids.add(pid);
  await within('the close', pipeline.close());
  await gone([...pids]);
  t.ok(pids.has(victim));
});
