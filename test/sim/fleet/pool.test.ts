// Proves what a simulated instance loads before a task, and what an idle one loads ahead.
import t from 'tap';
import type { PoolSpec } from '../../../src/ts/planner/fleet/fleet.js';
import { Pool } from '../../../src/ts/planner/fleet/pool.js';
import { Job, Worker } from '../../../src/ts/planner/fleet/worker.js';

const SPEC: PoolSpec = {
  name: 'pool',
  gpus: 1,
  memoryGB: 10,
  loadS: 30,
  slots: 1,
  resident: 2,
  swapS: 8,
  families: Uint16Array.of(0, 0, 1, 0),
  adapterS: 3,
  patienceS: 0,
  prefetch: true,
  hintS: 1,
};

const jobOf = (model: number, hasAdapter = false) => new Job(0, model, '', Number.POSITIVE_INFINITY, hasAdapter);

function poolOf(spec: Partial<PoolSpec> = {}): { pool: Pool; worker: Worker } {
  const pool = new Pool({ ...SPEC, ...spec }, 0, 4, 3600);
  const worker = new Worker(0, { index: 0, factor: 1, workers: new Set(), free: 8 }, 0);
  pool.workers.add(worker);
  pool.openUp(worker);
  return { pool, worker };
}

void t.test('an instance loads what it does not hold, and drops the model used longest ago', async (t) => {
  const { pool, worker } = poolOf();
  t.equal(pool.switchS(worker, jobOf(0), 0), 8);
  t.equal(pool.switchS(worker, jobOf(0), 0), 0, 'it is there');
  t.equal(pool.switchS(worker, jobOf(2), 0), 30, 'another family: a whole load');
  t.equal(pool.switchS(worker, jobOf(0), 0), 0, 'two fit');
  t.equal(pool.switchS(worker, jobOf(1), 0), 8);
  t.same(worker.models, [0, 1]);
  t.equal(pool.loads, 3);
  t.equal(pool.takerOf(jobOf(1)), worker, 'the pool knows who holds what');
  t.equal(pool.takerOf(jobOf(0)), worker);
});

void t.test('an adapter is loaded besides, also where every instance runs every model', async (t) => {
  const { pool, worker } = poolOf();
  t.equal(pool.switchS(worker, jobOf(0, true), 0), 11);
  t.equal(pool.switchS(worker, jobOf(0, true), 0), 3);
  t.equal(pool.adapterLoads, 2);
  const alike = poolOf({ resident: 0 });
  t.equal(alike.pool.switchS(alike.worker, jobOf(1, true), 0), 3);
  t.equal(alike.pool.switchS(alike.worker, jobOf(1), 0), 0);
  t.same([alike.pool.loads, alike.pool.adapterLoads, alike.worker.models.length], [0, 1, 0]);
});

void t.test('an idle instance loads the model that is asked for most, and a task waits for the rest', async (t) => {
  const { pool, worker } = poolOf({ resident: 1 });
  pool.asked(3);
  pool.prefetch(worker, 100);
  t.same([worker.models, pool.loads, worker.prefetchUntilS], [[3], 1, 108]);
  pool.prefetch(worker, 101);
  t.equal(pool.loads, 1, 'it has it');
  t.equal(pool.switchS(worker, jobOf(3), 105), 3, 'what is left of the load');
  t.equal(pool.switchS(worker, jobOf(3), 105), 0);
});
