// Proves how the tasks of one simulated instance share it, and when the first of them ends.
import t from 'tap';
import type { SimNode } from '../../../src/ts/planner/fleet/nodes.js';
import { Job, Worker } from '../../../src/ts/planner/fleet/worker.js';

const nodeOf = (factor: number): SimNode => ({ index: 0, factor, workers: new Set(), free: 8 });

function taskOf(request: number, leftS: number): Job {
  const job = new Job(request, 0, '', Number.POSITIVE_INFINITY, false);
  job.leftS = leftS;
  return job;
}

void t.test('tasks of an instance share it evenly', async (t) => {
  const worker = new Worker(0, nodeOf(1), 0);
  worker.moveOn(10);
  const [short, long] = [taskOf(0, 2), taskOf(1, 5)];
  worker.tasks.push(short, long);
  t.equal(worker.nextEndS(10, undefined), 14, 'the shorter one takes twice its time');
  worker.moveOn(12);
  t.same([short.leftS, long.leftS], [1, 4]);
  worker.moveOn(14);
  t.same([short.leftS, long.leftS], [0, 3]);
  worker.tasks.shift();
  t.equal(worker.nextEndS(14, undefined), 17, 'alone again');
});

void t.test('batches make it faster, a slow node slower', async (t) => {
  const worker = new Worker(0, nodeOf(2), 0);
  worker.tasks.push(taskOf(0, 3), taskOf(1, 3));
  t.equal(
    worker.nextEndS(0, (tasks) => (tasks === 2 ? 1.5 : 1)),
    8,
    '6 s of work at 1.5 times the speed of half',
  );
  worker.moveOn(4);
  t.same(
    worker.tasks.map(({ leftS }) => leftS),
    [1.5, 1.5],
  );
});

void t.test('each change makes ends that were foretold before stale', async (t) => {
  const worker = new Worker(0, nodeOf(1), 0);
  worker.tasks.push(taskOf(0, 1));
  worker.nextEndS(0, undefined);
  const { stamp } = worker;
  worker.tasks.pop();
  t.equal(worker.nextEndS(0.5, undefined), undefined, 'none is left');
  t.not(worker.stamp, stamp);
});
