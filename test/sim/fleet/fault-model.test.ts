// Proves what a node takes with it when it dies, and that a deadline still finds what waits again.
import t from 'tap';
import { FaultModel } from '../../../src/ts/planner/fleet/fault-model.js';
import { NO_FAULTS } from '../../../src/ts/planner/fleet/fleet.js';
import { Instances } from '../../../src/ts/planner/fleet/instances.js';
import { Nodes } from '../../../src/ts/planner/fleet/nodes.js';
import { PoolQueues } from '../../../src/ts/planner/fleet/pool-queues.js';
import { Requests } from '../../../src/ts/planner/fleet/requests.js';
import { Run } from '../../../src/ts/planner/fleet/run.js';
import { Scaler } from '../../../src/ts/planner/fleet/scaler.js';
import { Tasks } from '../../../src/ts/planner/fleet/tasks.js';
import { fleet, poisson, pool, run as simulated } from './workloads.js';

const rates = { ...NO_FAULTS, nodeDeathsPerHour: 1, storeOutagesPerHour: 60, storeOutageS: 20 };

function partsOf() {
  const trace = poisson(1, 100);
  const deadlineS = trace.deadlineS.map(() => 50);
  const run = new Run(fleet([pool({ fixed: 1 })]), { ...trace, deadlineS });
  const draw = () => 0.5;
  const nodes = new Nodes(draw, rates);
  const instances = new Instances(run, nodes, undefined);
  const scaler = new Scaler(run, instances);
  const tasks = new Tasks(run);
  const queues = new PoolQueues(run, tasks, instances, scaler);
  const requests = new Requests(run, { tasks, queues, instances, scaler, gateway: undefined });
  const faults = new FaultModel(run, { rates, draw }, tasks, nodes, instances, queues);
  const worker = instances.first(run.pools[0]!);
  instances.use(worker);
  return { run, pool: run.pools[0]!, requests, faults, worker };
}

void t.test('tasks of a node that dies wait again, and a fixed number of instances starts again', async (t) => {
  const { run, pool, requests, faults, worker } = partsOf();
  requests.arrive(0);
  const [job] = worker.tasks;
  t.equal(pool.running, 1);
  faults.death();
  t.same([run.tally.deaths, run.tally.again], [1, 1]);
  t.same([pool.running, pool.queue.size, pool.starting.size], [0, 1, 1]);
  t.ok(worker.isDead && job!.isWaiting);
  t.equal(job!.worker, undefined, 'no task of it runs anywhere');
});

void t.test('a request whose node died ends at its deadline if it still waits', async (t) => {
  const { run, pool, requests, faults, worker } = partsOf();
  requests.arrive(0);
  const [job] = worker.tasks;
  const { left } = run.tally;
  faults.death();
  run.timeline.moveTo(50);
  requests.due(job!);
  t.same([run.tally.expired, run.tally.left], [1, left - 1]);
  t.same([pool.running, pool.queue.size, pool.waitingS], [0, 0, 0], 'it waits no more, and nothing ran');
  t.ok(job!.isOver);
});

void t.test('deadlines and nodes that die: every request ends once', async (t) => {
  const trace = poisson(0.3, 50_000, { units: (u) => 5 + 20 * u });
  const due = { ...trace, deadlineS: trace.deadlineS.map(() => 60) };
  const found = simulated(fleet([pool({ fixed: 5 })]), due, 1, { ...NO_FAULTS, nodeDeathsPerHour: 20 });
  t.ok(found.tasksAgain > 10 && found.expired > 0);
  t.ok(found.rejected + found.expired + found.inTime <= 1);
  t.ok(found.p95S <= 60);
});

void t.test('the control store is away for as long as the rates say', async (t) => {
  const { run, faults } = partsOf();
  t.notOk(faults.isStoreAway);
  faults.outage(true);
  t.ok(faults.isStoreAway);
  t.equal(run.timeline.nextS, 20);
  t.same(run.timeline.take(), { type: 'outage', begins: false });
  faults.outage(false);
  t.notOk(faults.isStoreAway);
});
