// Proves that no record is lost between the end of polling and sleep, in either direction: tasks come after rests
// around the time for which both processes poll, and each is answered. And that a process which polls is not rung for.
import t from 'tap';
import { stagesFile } from '../../../src/ts/bench/python/round-trip.js';
import { Mailbox } from '../../../src/ts/cluster/python/mailbox.js';
import { PythonStage } from '../../../src/ts/cluster/python/python-stage.js';
import { checkSpec, tensor } from '../../../src/ts/pipeline/index.js';
import type { Task } from '../../../src/ts/pipeline/task.js';
import { Poller } from '../../../src/ts/ring/index.js';
import { EventFd } from '../../../src/ts/verbs/event-fd.js';
import { within } from '../../pipeline/support.js';

const POLL_US = 60;
const TASKS = 800;
const LATE_MS = 20_000;

async function openStage(pollUs: number): Promise<PythonStage> {
  const python = { file: stagesFile(), name: 'echo', interpreter: '/usr/bin/python3' };
  const spec = checkSpec({ name: 'echo', stages: [{ name: 'echo', python }] });
  const stage = new PythonStage({
    stage: spec.stages[0]!,
    instance: 0,
    module: __filename,
    heartbeatMs: 2000,
    pollUs,
    poller: new Poller({ pollUs }),
    onFailed: (reason) => {
      throw reason;
    },
  });
  stage.inlineBytes = 4096;
  await stage.start();
  return stage;
}

/** Runs a task with one byte. @returns the byte that came back */
async function echo(stage: PythonStage, value: number): Promise<number> {
  const x = tensor('u8', [1], Uint8Array.of(value));
  const task: Partial<Task> & Record<string, unknown> = {
    request: 'bell',
    seed: 0,
    instance: 0,
    instances: 1,
    spread: 'route',
    inputs: () => [{ stage: 'request', instance: 0, meta: {}, parts: { x }, pieces: [] }],
  };
  const { parts } = await within('an answer', stage.code.handler!(task as unknown as Task) as Promise<never>, LATE_MS);
  return (parts as { x: { data: Uint8Array } }).x.data[0]!;
}

/** Lets the event loop run for so long. */
async function rest(us: number): Promise<void> {
  const end = performance.now() + us / 1000;
  while (performance.now() < end) await new Promise((resolve) => setImmediate(resolve));
}

for (const pollUs of [POLL_US, 0]) {
  void t.test(`polled for ${pollUs} us: after rests of any length each task is answered`, async (t) => {
    const stage = await openStage(pollUs);
    t.teardown(() => stage.close());
    let wrong = 0;
    for (let i = 0; i < TASKS; i++) {
      if ((await echo(stage, i % 251)) !== i % 251) wrong++;
      // Around the end of polling, in steps that differ.
      await rest((i * 7) % (3 * POLL_US));
    }
    t.equal(wrong, 0);
  });
}

void t.test('a process that polls is not rung for, and finds its task', async (t) => {
  const stage = await openStage(10_000);
  t.teardown(() => stage.close());
  const { signal } = EventFd.prototype;
  const { get } = Object.getOwnPropertyDescriptor(Mailbox.prototype, 'pythonPolls')!;
  const answers: boolean[] = [];
  let rings = 0;
  EventFd.prototype.signal = function () {
    rings++;
    signal.call(this);
  };
  Object.defineProperty(Mailbox.prototype, 'pythonPolls', {
    configurable: true,
    get() {
      const polls: boolean = get!.call(this);
      answers.push(polls);
      return polls;
    },
  });
  t.teardown(() => {
    EventFd.prototype.signal = signal;
    Object.defineProperty(Mailbox.prototype, 'pythonPolls', { configurable: true, get: get! });
  });
  const end = performance.now() + LATE_MS;
  for (let i = 0; answers.filter((polls) => polls).length < 20 && performance.now() < end; i++) {
    t.equal(await echo(stage, i % 251), i % 251);
  }
  t.ok(answers.filter((polls) => polls).length >= 20, 'it was found polling');
  t.equal(rings, answers.filter((polls) => !polls).length);
});
