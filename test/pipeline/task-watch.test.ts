// Proves: a task that runs is cancelled when its deadline or its time limit has passed, the board names it while a
// process has it, and nothing of that is left when its handler has ended.
import t from 'tap';
import type { JoinedInputs } from '../../src/ts/pipeline/join.js';
import type { Task } from '../../src/ts/pipeline/task.js';
import { TaskBoard } from '../../src/ts/pipeline/task-board.js';
import { TaskWatch } from '../../src/ts/pipeline/task-watch.js';

/** A task, its watch, and the timers that the watch has set. */
function watched(options: { deadlineUs?: number; taskTimeoutMs?: number; leastUs?: number; mayBeAway?: boolean }) {
  const { deadlineUs = Number.POSITIVE_INFINITY, taskTimeoutMs, leastUs = 0, mayBeAway = false } = options;
  const board = new TaskBoard(new ArrayBuffer(TaskBoard.bytesFor(2)));
  const timers = new Map<number, () => void>(); // by ms
  const reasons: unknown[] = [];
  const task = {
    onAway: undefined as ((isAway: boolean) => void) | undefined,
    cancel: (reason: { code: string }) => reasons.push(reason.code),
  };
  const joined = {
    ledger: { gateway: 0, gatewayRun: 3 },
    ticket: 7,
    attempt: 1,
    inputs: [undefined],
    known: () => ({ deadlineUs }),
  };
  const rules = {
    stageName: 's',
    taskTimeoutMs,
    board,
    mayBeAway,
    nowUs: () => 2000,
    after: (ms: number, call: () => void) => {
      timers.set(ms, call);
      return () => timers.delete(ms);
    },
  };
  const watch = new TaskWatch(rules, joined as unknown as JoinedInputs, task as unknown as Task, 1000, leastUs);
  return { watch, board, timers, reasons, task };
}

void t.test('the deadline and the time limit each cancel the task with a reason of their own', (t) => {
  const { watch, board, timers, reasons } = watched({ deadlineUs: 6000, taskTimeoutMs: 20 });
  t.same([...timers.keys()].sort(), [20, 5]);
  t.match(board.read(), [{ gateway: 0, gatewayRun: 3, ticket: 7, attempt: 1, sinceUs: 1000 }]);
  timers.get(5)!();
  timers.get(20)!();
  t.same(reasons, ['RDMA_ERR_DEADLINE', 'RDMA_ERR_TIMEOUT']);
  watch.end();
  t.equal(timers.size, 0);
  t.same(board.read(), []);
  t.end();
});

void t.test('a task with less time left than any of late is cancelled before it begins', (t) => {
  const { reasons, timers } = watched({ deadlineUs: 1500, leastUs: 500 });
  t.same(reasons, ['RDMA_ERR_DEADLINE']);
  t.equal(timers.size, 0);
  t.same(watched({ deadlineUs: 1501, leastUs: 500 }).reasons, []);
  t.end();
});

void t.test('while no process has the task, its limit does not run and the board does not name it', (t) => {
  const { watch, board, timers, task } = watched({ deadlineUs: 6000, taskTimeoutMs: 20, mayBeAway: true });
  task.onAway!(true);
  t.same([...timers.keys()], [5], 'the deadline counts on');
  t.same(board.read(), []);
  task.onAway!(false);
  t.ok(timers.has(20));
  t.match(board.read(), [{ ticket: 7, sinceUs: 2000 }]);
  task.onAway!(true);
  watch.end();
  t.equal(timers.size, 0);
  t.same(board.read(), []);
  t.end();
});

void t.test('only where a process may be away is it asked', (t) => {
  t.equal(watched({}).task.onAway, undefined);
  t.end();
});
