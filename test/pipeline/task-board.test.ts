// Proves: a reader of a board sees each task that runs, whole, whatever tickets and times are, and none that has ended.
import fc from 'fast-check';
import t from 'tap';
import { type RunningTask, TaskBoard } from '../../src/ts/pipeline/index.js';
import type { RdmaError } from '../../src/ts/pipeline/index.js';

function boards(slots: number): [writer: TaskBoard, reader: TaskBoard] {
  const buffer = new ArrayBuffer(TaskBoard.bytesFor(slots));
  return [new TaskBoard(buffer), new TaskBoard(buffer)];
}

const begin = (board: TaskBoard, { gateway, gatewayRun, ticket, attempt, sinceUs }: RunningTask) =>
  board.begin(gateway, gatewayRun, ticket, attempt, sinceUs);

const byTicket = (tasks: readonly RunningTask[]) => [...tasks].sort((a, b) => a.ticket - b.ticket);

void t.test('any tasks, in any order of begins and ends', (t) => {
  const word = fc.integer({ min: 0, max: 0xffffffff });
  const task = fc.record({
    gateway: word,
    gatewayRun: word,
    ticket: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
    attempt: word,
    sinceUs: fc.double({ min: 0, max: 1e15, noNaN: true }),
  });
  fc.assert(
    fc.property(fc.array(fc.oneof(task, fc.nat()), { maxLength: 60 }), (steps) => {
      const [writer, reader] = boards(8);
      const running: { slot: number; task: RunningTask }[] = [];
      for (const step of steps) {
        if (typeof step === 'number') {
          if (running.length > 0) writer.end(running.splice(step % running.length, 1)[0]!.slot);
        } else if (running.length < 8) running.push({ slot: begin(writer, step), task: step });
        t.same(byTicket(reader.read()), byTicket(running.map((each) => each.task)));
      }
    }),
    { numRuns: 100 },
  );
  t.end();
});

void t.test('a board has as many slots as it was made for', (t) => {
  const [writer, reader] = boards(2);
  const task = { gateway: 0, gatewayRun: 1, ticket: 1, attempt: 1, sinceUs: 1 };
  const slots = [begin(writer, task), begin(writer, { ...task, ticket: 2 })];
  t.same(slots.toSorted(), [0, 1]);
  let code = '';
  try {
    begin(writer, task);
  } catch (error) {
    ({ code } = error as RdmaError);
  }
  t.equal(code, 'RDMA_ERR_BUSY');
  writer.end(slots[0]!);
  t.equal(begin(writer, { ...task, ticket: 3 }), slots[0]);
  t.same(
    byTicket(reader.read()).map(({ ticket }) => ticket),
    [2, 3],
  );
  t.end();
});
