// Proves: what a stage instance counts of its tasks, and what it takes for the usual and the least time of a handler.
import t from 'tap';
import { TaskTimes } from '../../src/ts/pipeline/task-times.js';

void t.test('each task is counted once, and only one that began has times', (t) => {
  const times = new TaskTimes();
  times.handlerEnded(30, false);
  times.taskEnded(5, 30);
  times.handlerEnded(40, true);
  times.taskEnded(7, 40);
  times.failed();
  times.refused();
  const { tasks, failures, queueTimes, computeTimes } = times.status();
  t.same({ tasks, failures }, { tasks: 3, failures: 2 });
  t.match(queueTimes, { count: 2, sumUs: 12 });
  t.match(computeTimes, { count: 2, sumUs: 70 });
  t.end();
});

void t.test('the usual time follows a shorter one at once and a longer one slowly, up to 1000 us', (t) => {
  const times = new TaskTimes();
  t.same(times.usualUs, Number.NaN);
  times.handlerEnded(5000, false);
  t.equal(times.usualUs, 1000);
  times.handlerEnded(100, true);
  t.equal(times.usualUs, 550);
  times.handlerEnded(650, false);
  t.equal(times.usualUs, 560);
  t.end();
});

void t.test('a handler that has failed says nothing of the least time', (t) => {
  const times = new TaskTimes();
  for (let i = 0; i < 32; i++) times.handlerEnded(200 + i, false);
  t.equal(times.leastUs, 200);
  times.handlerEnded(1, true);
  t.equal(times.leastUs, 200);
  times.handlerEnded(150, false);
  t.equal(times.leastUs, 150);
  t.end();
});
