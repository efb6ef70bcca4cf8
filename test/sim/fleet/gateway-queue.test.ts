// Proves where requests wait behind one gateway, and at which stage what waits counts.
import t from 'tap';
import { CLUSTER_DELAYS, NO_FAULTS } from '../../../src/ts/planner/fleet/fleet.js';
import { GatewayModel } from '../../../src/ts/planner/fleet/gateway-model.js';
import { GatewayQueue } from '../../../src/ts/planner/fleet/gateway-queue.js';
import { Instances } from '../../../src/ts/planner/fleet/instances.js';
import { Nodes } from '../../../src/ts/planner/fleet/nodes.js';
import { Run } from '../../../src/ts/planner/fleet/run.js';
import { Scaler } from '../../../src/ts/planner/fleet/scaler.js';
import { Tasks } from '../../../src/ts/planner/fleet/tasks.js';
import { Job } from '../../../src/ts/planner/fleet/worker.js';
import { fleet, poisson, pool } from './workloads.js';

function partsOf(counts: readonly number[]) {
  const spec = fleet(
    counts.map((fixed) => pool({ fixed })),
    1,
    1,
    { delays: CLUSTER_DELAYS, hasGateway: true },
  );
  const run = new Run(spec, { ...poisson(1, 100), units: new Float32Array(100).fill(1) });
  const gateway = new GatewayModel(spec, NO_FAULTS);
  const instances = new Instances(run, new Nodes(() => 0.5, NO_FAULTS), gateway);
  const tasks = new Tasks(run);
  const queues = new GatewayQueue(run, tasks, new Scaler(run, instances), gateway);
  run.pools.forEach((each, i) => {
    for (let n = 0; n < counts[i]!; n++) {
      const worker = instances.first(each);
      instances.use(worker);
      queues.ready(each, worker);
    }
  });
  let requests = 0;
  const arrive = () => {
    const job = new Job(requests++, 0, '', Number.POSITIVE_INFINITY, false);
    queues.arrive(job);
    return job;
  };
  return { run, queues, tasks, gateway, arrive };
}

void t.test('requests leave the queue while their steps have room, and the others wait there', async (t) => {
  const { run, queues, arrive } = partsOf([1, 1]);
  const jobs = Array.from({ length: 8 }, arrive);
  const [first, second] = run.pools;
  const admitted = jobs.filter((job) => job.admitted !== undefined).length;
  t.ok(admitted > 1 && admitted < 8, `${admitted} of 8`);
  t.same([first!.running, first!.given, first!.queue.size], [1, admitted - 1, 8 - admitted]);
  t.equal(first!.waitingS, 7, 'all but the one that works');
  t.equal(queues.queuedAt(first!), 7, 'its only instance has the most');
  t.equal(queues.queuedAt(second!), 0, 'it has room');
  t.equal(jobs[0]!.worker, [...first!.workers][0]);
});

void t.test('a step that is done makes room for the next one', async (t) => {
  const { run, queues, tasks, arrive } = partsOf([1, 1]);
  const jobs = Array.from({ length: 8 }, arrive);
  const [first, second] = run.pools;
  const [worker] = first!.workers;
  const waiting = first!.queue.size;
  run.timeline.moveTo(1);
  const wentOn: boolean[] = [];
  const wasFull = tasks.end(worker!, { done: (_, job) => void wentOn.push(queues.goOn(job)) });
  queues.taskGone(first!, worker!, wasFull);
  t.same(wentOn, [true]);
  t.same([second!.running, jobs[0]!.step], [1, 1]);
  t.equal(first!.running, 1, 'the next one that was given to it');
  t.equal(jobs[1]!.worker, worker);
  t.ok(first!.queue.size <= waiting);
});

void t.test('who is dropped waits nowhere', async (t) => {
  const { run, queues, arrive } = partsOf([1]);
  const jobs = Array.from({ length: 8 }, arrive);
  const [only] = run.pools;
  const [given, queued] = [jobs[1]!, jobs[7]!];
  t.ok(given.admitted !== undefined && queued.isWaiting);
  const before = only!.given;
  queues.drop(only!, given);
  t.same([only!.given, only!.waitingS], [before - 1, 6]);
  const { size } = only!.queue;
  queues.drop(only!, queued);
  t.same([only!.queue.size, only!.waitingS, queued.isWaiting], [size - 1, 5, false]);
});
