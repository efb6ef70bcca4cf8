// Proves that worker threads may use devices like anybody else: a worker that is terminated in the middle of work takes
// nothing with it but its own objects, and the main thread goes on working.
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { CompletionStatus, SendFlags } from '../../src/ts/verbs/index.js';
import { steps } from './climb.js';
import { ended, openPair, patienceMs, startHelper, takeOne, until } from './support.js';

function startWorker(step: string, mode: string): Worker {
  return new Worker(path.join(__dirname, 'worker.js'), { workerData: { step, mode } });
}

async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took too long`)), patienceMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A round trip of the main thread's own. */
async function mainWorks({ a, b }: ReturnType<typeof openPair>): Promise<boolean> {
  a.bytes[0]!++;
  a.qp.sends.write(0, 1, SendFlags.SIGNALED, b.mr.address, b.mr.rkey, a.mr.address, 8, a.mr.lkey);
  a.qp.postSend(1);
  return (await takeOne(a.cq)).status === CompletionStatus.SUCCESS && b.bytes[0] === a.bytes[0];
}

const descriptors = () => readdirSync('/proc/self/fd').length;

void t.test('a worker ends by itself with anything open, at every step', async (t) => {
  using pair = openPair();
  for (const step of steps) {
    const worker = startWorker(step, 'end');
    const [code] = await within(once(worker, 'exit'), step);
    t.equal(code, 0, step);
  }
  t.ok(await mainWorks(pair));
});

void t.test('a worker is terminated while it waits, at every step', async (t) => {
  using pair = openPair();
  for (const step of steps) {
    const worker = startWorker(step, 'wait');
    await within(once(worker, 'message'), step);
    await within(worker.terminate(), `${step}: terminate()`);
    t.ok(await mainWorks(pair), step);
  }
});

void t.test('a worker is terminated in the middle of posting, 20 times, and leaves no descriptor', async (t) => {
  using pair = openPair();
  // The first one makes what stays for good, such as the event loop of the pool.
  let start = 0;
  for (let round = 0; round <= 20; round++) {
    const worker = startWorker('armed', 'busy');
    await within(once(worker, 'message'), 'the start');
    for (let i = 0; i < 50; i++) if (!(await mainWorks(pair))) t.fail('the main thread failed');
    await within(worker.terminate(), 'terminate()');
    if (round === 0) start = descriptors();
  }
  await until(`${descriptors()} descriptors are ${start} again`, () => descriptors() <= start);
  t.ok(await mainWorks(pair));
});

// What a call answers, its error too, is made in a JavaScript that may be ending meanwhile.
for (const mode of ['cycle', 'refused'] as const) {
  void t.test(`a worker is terminated in the middle of any call, 40 times: ${mode}`, async (t) => {
    using pair = openPair();
    for (let round = 0; round < 40; round++) {
      const worker = startWorker(mode === 'cycle' ? 'event' : 'domain', mode);
      await within(once(worker, 'message'), 'the start');
      for (let i = 0; i < round; i++) if (!(await mainWorks(pair))) t.fail('the main thread failed');
      await within(worker.terminate(), 'terminate()');
    }
    t.ok(await mainWorks(pair));
  });
}

void t.test('two workers and the main thread work at once', async (t) => {
  using pair = openPair();
  const workers = [startWorker('armed', 'busy'), startWorker('posted', 'busy')];
  await within(Promise.all(workers.map((worker) => once(worker, 'message'))), 'the start');
  for (let i = 0; i < 500; i++) if (!(await mainWorks(pair))) t.fail('the main thread failed');
  await within(Promise.all(workers.map((worker) => worker.terminate())), 'terminate()');
  t.ok(await mainWorks(pair));
});

void t.test('a process whose main thread never loads the addon survives its workers', async (t) => {
  const { how, output } = await ended(startHelper('worker-only'), 30_000);
  t.equal(how, '0', 'the exit code', { output });
});
