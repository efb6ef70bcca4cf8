// Proves: single tasks begin in order, as many at a time as may run, each ends once, and those that nobody wants any
// more do not begin.
import t from 'tap';
import type { JoinedInputs } from '../../src/ts/pipeline/join.js';
import { SingleExecutor, type SingleHost } from '../../src/ts/pipeline/single-executor.js';
import type { StageOutput, Task } from '../../src/ts/pipeline/task.js';
import type { StageHandler } from '../../src/ts/pipeline/workflow.js';

interface Joined {
  name: string;
  state: string;
}

/** A stage instance that writes down what happens. */
class Host implements SingleHost {
  isOpen = true;
  running = 0;
  readonly log: string[] = [];
  late: string | undefined;
  alone: string | undefined;

  taskOf(joined: JoinedInputs): Task {
    const { name } = joined as unknown as Joined;
    return { name, cancelled: name === this.late ? new Error('late') : undefined } as unknown as Task;
  }

  mayBegin(joined: JoinedInputs, running: number): boolean {
    return running === 0 || (joined as unknown as Joined).name !== this.alone;
  }

  begin(joined: JoinedInputs): (output: StageOutput | undefined, error: unknown) => void {
    const held = joined as unknown as Joined;
    held.state = 'running';
    this.running++;
    this.log.push(`begin ${held.name}`);
    return (output, error) => {
      this.running--;
      this.log.push(`end ${held.name} ${error instanceof Error ? error.message : JSON.stringify(output)}`);
    };
  }

  begun(): void {
    this.log.push('begun');
  }
}

const ready = (name: string) => ({ name, state: 'ready' }) as unknown as JoinedInputs;
const nameOf = (task: unknown) => (task as Joined).name;

void t.test('what a handler answers or throws at once ends its task, and the next one begins', (t) => {
  const host = new Host();
  const handler: StageHandler = (task) => {
    if (nameOf(task) === 'b') throw new Error('no');
    return { meta: { n: 1 } };
  };
  const executor = new SingleExecutor(host, handler, 1);
  host.isOpen = false;
  for (const name of ['a', 'b']) executor.add(ready(name));
  t.equal(executor.waiting, 2);
  t.same(host.log, [], 'nothing begins before it is open');
  host.isOpen = true;
  executor.next();
  t.same(host.log, ['begin a', 'begun', 'end a {"meta":{"n":1}}', 'begin b', 'begun', 'end b no']);
  t.equal(executor.waiting, 0);
  t.end();
});

void t.test('with promises as many run as may, in order, and a rejection without a reason has one', async (t) => {
  const host = new Host();
  const settle = new Map<string, { resolve: (output: StageOutput) => void; reject: (error: unknown) => void }>();
  const handler: StageHandler = (task) =>
    new Promise((resolve, reject) => {
      settle.set(nameOf(task), { resolve, reject });
    });
  const executor = new SingleExecutor(host, handler, 2);
  for (const name of ['a', 'b', 'c']) executor.add(ready(name));
  t.same([...settle.keys()], ['a', 'b']);
  settle.get('b')!.reject(undefined);
  await new Promise(setImmediate);
  t.same([...settle.keys()], ['a', 'b', 'c']);
  settle.get('c')!.resolve({});
  settle.get('a')!.resolve({});
  await new Promise(setImmediate);
  const ends = host.log.filter((line) => line.startsWith('end'));
  t.same(ends, ['end b the handler was rejected without a reason', 'end c {}', 'end a {}']);
  t.equal(host.running, 0);
});

void t.test('a task that is late ends without its handler; one that nobody wants does not begin', (t) => {
  const host = new Host();
  host.late = 'a';
  host.isOpen = false;
  const called: string[] = [];
  const executor = new SingleExecutor(
    host,
    (task) => {
      called.push(nameOf(task));
      return {};
    },
    1,
  );
  const over = ready('b');
  for (const joined of [ready('a'), over, ready('c')]) executor.add(joined);
  over.state = 'over';
  host.isOpen = true;
  executor.next();
  t.same(called, ['c']);
  t.same(host.log, ['begin a', 'begun', 'end a late', 'begin c', 'begun', 'end c {}']);
  t.end();
});

void t.test('one that may not begin beside others holds up those behind it until it may', async (t) => {
  const host = new Host();
  host.alone = 'b';
  let end: (output: StageOutput) => void = () => {};
  const handler: StageHandler = (task) => {
    if (nameOf(task) !== 'a') return {};
    return new Promise((resolve) => {
      end = resolve;
    });
  };
  const executor = new SingleExecutor(host, handler, 4);
  for (const name of ['a', 'b', 'c']) executor.add(ready(name));
  t.same(host.log, ['begin a', 'begun']);
  t.equal(executor.waiting, 2);
  end({});
  await new Promise(setImmediate);
  t.same(host.log.slice(2), ['end a {}', 'begin b', 'begun', 'end b {}', 'begin c', 'begun', 'end c {}']);
});
