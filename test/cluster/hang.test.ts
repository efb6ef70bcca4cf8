// Proves that a process that hangs is found from outside and replaced: one that is stopped, one whose handler takes
// longer than its stage allows, and one whose handler goes on when nobody wants the result; that other instances go on
// meanwhile; and that no process is ended for being busy, or for what its supervisor did not see.
import { readFileSync } from 'node:fs';
import t from 'tap';
import type { LocalPipeline } from '../../src/ts/cluster/index.js';
import type { RdmaError } from '../../src/ts/pipeline/index.js';
import { until, within } from '../pipeline/support.js';
import { limited, stubborn } from './faulty.js';
import { gone, idle, outcome, run, start } from './support.js';

const pidOf = (pipeline: LocalPipeline, instance: number): number =>
  pipeline.processes.find((place) => place.instance === instance)!.pid;

void t.test('a handler that listens to its signal fails with the time-out, and its process goes on', async (t) => {
  const { pipeline } = await start(t, limited);
  const error = (await within('the failure', run(pipeline, { act: 'listen' }))) as RdmaError;
  t.match(error, { code: 'RDMA_ERR_STAGE_FAILED', stage: 'act', message: /longer than 300 ms \(taskTimeoutMs\)/ });
  t.same(pipeline.restarts, []);
  await idle(pipeline);
});

void t.test(
  'one that does not, or that blocks, loses its process; the request fails, its neighbour is served',
  async (t) => {
    for (const act of ['ignore', 'block']) {
      const { pipeline } = await start(t, limited);
      const before = [pidOf(pipeline, 0), pidOf(pipeline, 1)];
      const bad = run(pipeline, { act });
      await until('its start', () => pipeline.load.inFlight === 1);
      for (let i = 0; i < 20; i++) t.equal(await within('a result', run(pipeline, {}), 20_000), 'ok');
      const error = (await within('the failure', bad, 20_000)) as RdmaError;
      t.match(
        error,
        { code: 'RDMA_ERR_STAGE_FAILED', stage: 'act', message: /longer than 300 ms.*300 ms \(graceMs\)/ },
        act,
      );
      t.match(pipeline.restarts, [{ stage: 'act', reason: /^task-timeout: /, delayMs: 0 }]);
      t.equal(pipeline.restarts[0]?.failed.length, 1);
      await until('the replacement', () => pipeline.processes.length === 2);
      t.equal(before.filter((pid) => pipeline.processes.every((place) => place.pid !== pid)).length, 1);
      await idle(pipeline, 20_000);
      const counts = Object.values((await pipeline.status()).supervision);
      t.equal(
        counts.reduce((sum, { taskTimeouts }) => sum + taskTimeouts, 0),
        1,
      );
      await within('the close', pipeline.close());
    }
  },
);

void t.test('a handler that goes on after the deadline, or the abort, loses its process after graceMs', async (t) => {
  for (const act of ['ignore', 'block']) {
    const { pipeline } = await start(t, stubborn);
    const control = new AbortController();
    // At the same time, so that each has an instance of its own.
    const late = run(pipeline, { act }, 1000);
    const aborted = outcome(pipeline.run({ meta: { act } }, { signal: control.signal }));
    setTimeout(() => control.abort(), 1000);
    t.match(await within('the deadline', late), { code: 'RDMA_ERR_DEADLINE' });
    t.match(await within('the abort', aborted), { code: 'RDMA_ERR_ABORTED' });
    for (let i = 0; i < 10; i++) t.equal(await within('a result', run(pipeline, {}), 20_000), 'ok', act);
    await until('the ends', () => pipeline.restarts.length === 2, 20_000);
    t.match(pipeline.restarts, [{ reason: /^cancel: / }, { reason: /^cancel: / }]);
    await idle(pipeline, 20_000);
    t.equal(pipeline.restarts.length, 2, 'they were not run again');
    await within('the close', pipeline.close());
  }
});

void t.test('without a limit a handler may block for as long as it likes', async (t) => {
  const { pipeline } = await start(t, stubborn, { heartbeatMs: 100 });
  t.equal(await within('a result', run(pipeline, { act: 'block', ms: 2000 }), 20_000), 'ok');
  t.same(pipeline.restarts, []);
});

void t.test('a process that is stopped is replaced after heartbeatMs, and its request is answered', async (t) => {
  const { pipeline } = await start(t, stubborn, { heartbeatMs: 400 });
  const pid = pidOf(pipeline, 0);
  process.kill(pid, 'SIGSTOP');
  // As many as go to both.
  const all = Array.from({ length: 8 }, () => run(pipeline, { act: 'wait', ms: 10 }));
  t.same(await within('the results', Promise.all(all), 20_000), Array(8).fill('ok'));
  t.match(pipeline.restarts, [{ instance: 0, reason: /^hang: it was stopped for 400 ms/, delayMs: 0, failed: [] }]);
  await gone([pid]);
  t.match((await pipeline.status()).supervision['act/0'], { state: 'ready', hangs: 1, restarts: 1 });
  await idle(pipeline);
});

void t.test('one of two that is stopped takes nothing from the other: requests go there', async (t) => {
  const { pipeline } = await start(t, stubborn, { heartbeatMs: 20_000 });
  for (let i = 0; i < 20; i++) await within('a result', run(pipeline, { act: 'wait', ms: 1 }));
  const pid = pidOf(pipeline, 0);
  process.kill(pid, 'SIGSTOP');
  const stuck = run(pipeline, { act: 'wait', ms: 1 });
  const stuckToo = run(pipeline, { act: 'wait', ms: 1 });
  const state = async () => (await pipeline.status()).supervision['act/0']?.state;
  await until('some time', () => pipeline.load.inFlight <= 1);
  const stopped = async () => {
    while ((await state()) !== 'stopped') await new Promise((resolve) => setTimeout(resolve, 10));
  };
  await within('the state', stopped());
  for (let i = 0; i < 100; i++) t.equal(await within('a result', run(pipeline, { act: 'wait', ms: 1 })), 'ok');
  process.kill(pid, 'SIGCONT');
  t.same(await within('all', Promise.all([stuck, stuckToo])), ['ok', 'ok']);
  t.same(pipeline.restarts, [], 'it was continued in time');
  const ready = async () => {
    while ((await state()) !== 'ready') {
      await run(pipeline, {});
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  await within('the state', ready());
  await idle(pipeline);
});

void t.test('a supervisor that was busy ends nobody for what it did not see', async (t) => {
  const { pipeline } = await start(t, limited, { heartbeatMs: 300 });
  // It begins, and ends while nobody looks.
  const all = [run(pipeline, { act: 'wait', ms: 100 }), run(pipeline, { act: 'block', ms: 100 })];
  await new Promise((resolve) => setTimeout(resolve, 50));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3000);
  t.same(await within('the results', Promise.all(all)), ['ok', 'ok']);
  t.same(pipeline.restarts, []);
});

/** How often the thread of this process was woken up, and gave its processor away, see proc(5). */
function switches(): number {
  const status = readFileSync('/proc/thread-self/status', 'utf8');
  return Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1]);
}

void t.test('a pipeline without work is not looked at', async (t) => {
  const { pipeline } = await start(t, stubborn, { heartbeatMs: 40 });
  t.equal(await within('a result', run(pipeline, {})), 'ok');
  await idle(pipeline);
  await new Promise((resolve) => setTimeout(resolve, 300));
  const before = switches();
  await new Promise((resolve) => setTimeout(resolve, 2000));
  const count = switches() - before;
  t.ok(count < 50, `${count} in 2 s, where a look every 10 ms takes 200`);
});
