// Proves that a stage in Python survives what one in JavaScript does: its Python process is killed, stopped, crashes,
// forks, prints without end, hangs or holds the interpreter; tasks run again from the inputs that are held, in the same
// stage process; and that nothing that Python has started is left, whoever ends first.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { LocalPipeline } from '../../../src/ts/cluster/index.js';
import { tensor } from '../../../src/ts/pipeline/index.js';
import { until, within } from '../../pipeline/support.js';
import { alive, idle, outcome, start } from '../support.js';
import { act, batch, limited, pair } from './workflows.js';

const SOFT = { device: 'soft0' };

/** A file that Python writes a letter into each time; gone with the test. */
function counter(t: { teardown: (work: () => void) => void }): { file: string; count: () => number } {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'onepiece-python-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = path.join(folder, 'count');
  const count = () => {
    try {
      return readFileSync(file).length;
    } catch {
      return 0;
    }
  };
  return { file, count };
}

const pidOf = async (pipeline: LocalPipeline): Promise<number> =>
  ((await pipeline.run({})).outputs[0]!.meta as { pid: number }).pid;

async function statusOf(pipeline: LocalPipeline, place = 'act/0') {
  return (await pipeline.status()).stages[place]!.python!;
}

void t.test('killed while it runs a task: the task runs again, and its stage process goes on', async (t) => {
  const { pipeline } = await start(t, act, SOFT);
  const { file, count } = counter(t);
  const pid = await pidOf(pipeline);
  const result = pipeline.run({ meta: { act: 'sleeps', file, times: 1 } });
  await until('its start', () => count() === 1);
  process.kill(pid, 'SIGKILL');
  const { outputs } = await within('the result', result, 30_000);
  t.not((outputs[0]!.meta as { pid: number }).pid, pid);
  t.equal(count(), 2);
  t.same(pipeline.restarts, [], 'nothing before it has noticed');
  t.match(await statusOf(pipeline), { restarts: 1, lastEnd: 'signal SIGKILL', isReady: true });
  await idle(pipeline);
});

void t.test('killed while it has nothing to do: the next task is done', async (t) => {
  const { pipeline } = await start(t, act, SOFT);
  const pid = await pidOf(pipeline);
  process.kill(pid, 'SIGKILL');
  await until('its end', () => !alive(pid));
  t.not(await within('the result', pidOf(pipeline), 30_000), pid);
  t.same(pipeline.restarts, []);
});

void t.test('a task whose process ends each time fails, with the reason; the next one is done', async (t) => {
  const { pipeline } = await start(t, act, SOFT);
  const { file, count } = counter(t);
  const ok = await within('a result', outcome(pipeline.run({ meta: { act: 'ends', file, times: 2 } })), 60_000);
  t.equal(ok, 'ok', 'the third try');
  t.equal(count(), 3);
  const crash = await within('the failure', outcome(pipeline.run({ meta: { act: 'segfaults' } })), 60_000);
  t.match(crash, {
    code: 'RDMA_ERR_STAGE_FAILED',
    stage: 'act',
    message: /ended \(signal SIGSEGV\) while it ran this task, as 2 before it did; it printed last: (.|\n)*stages\.py/,
  });
  t.ok((await within('a result', pidOf(pipeline), 30_000)) > 0);
  t.same(pipeline.restarts, []);
  await idle(pipeline);
});

void t.test('its error has what it printed last, to the last character, also half of one', async (t) => {
  const { pipeline } = await start(t, act, SOFT);
  const error = await within('the failure', outcome(pipeline.run({ meta: { act: 'prints-halves' } })), 60_000);
  t.match(error, {
    code: 'RDMA_ERR_STAGE_FAILED',
    message: /\(exit code 0\) while it ran .*printed last: half warning\nof a line \u20ac\nto the end \u00e9\ufffd/,
  });
  await idle(pipeline);
});

void t.test('a task of a batch that ends the process runs alone afterwards; the others are done', async (t) => {
  const { pipeline } = await start(t, batch, SOFT);
  const runs = Array.from({ length: 4 }, (_, n) =>
    pipeline.run({ meta: n === 1 ? { n, act: 'always-exits' } : { n } }),
  );
  const ends = await within('all', Promise.all(runs.map(outcome)), 60_000);
  t.match(ends[1], { code: 'RDMA_ERR_STAGE_FAILED', message: /exit code 9/ });
  t.same([ends[0], ends[2], ends[3]], ['ok', 'ok', 'ok']);
  await idle(pipeline);
});

void t.test('stopped: it is ended after heartbeatMs, and its task runs again', async (t) => {
  const { pipeline } = await start(t, act, { ...SOFT, heartbeatMs: 400 });
  const { file } = counter(t);
  const { outputs } = await within('the result', pipeline.run({ meta: { act: 'stops', file } }), 30_000);
  t.ok((outputs[0]!.meta as { pid: number }).pid > 0);
  t.match(await statusOf(pipeline), { restarts: 1, lastEnd: 'it was stopped for 400 ms (heartbeatMs)' });
  t.same(pipeline.restarts, []);
});

void t.test('a task that stops its process each time fails, as one that ends it', async (t) => {
  const { pipeline } = await start(t, act, { ...SOFT, heartbeatMs: 300 });
  const error = await within('the failure', outcome(pipeline.run({ meta: { act: 'stops-always' } })), 60_000);
  t.match(error, {
    code: 'RDMA_ERR_STAGE_FAILED',
    message: /ended \(it was stopped for 300 ms \(heartbeatMs\)\) while it ran this task, as 2 before it did/,
  });
  t.ok((await within('the next', pidOf(pipeline), 30_000)) > 0);
  t.same(pipeline.restarts, []);
  await idle(pipeline);
});

void t.test(
  'cancelled or late: who listens ends, who does not loses its process, and the next task is done',
  async (t) => {
    const { pipeline } = await start(t, act, SOFT);
    const { file } = counter(t);
    let pid = await pidOf(pipeline);
    const late = await within('it', outcome(pipeline.run({ meta: { act: 'listens' } }, { timeoutMs: 500 })), 30_000);
    t.match(late, { code: 'RDMA_ERR_DEADLINE' });
    t.equal(await within('the next', pidOf(pipeline), 30_000), pid, 'the same process');
    for (const name of ['sleeps', 'holds']) {
      const control = new AbortController();
      const bad = outcome(pipeline.run({ meta: { act: name, file } }, { signal: control.signal }));
      await until('its start', () => pipeline.load.inFlight === 1);
      setTimeout(() => control.abort(), 300);
      t.not(await within('the end', bad, 30_000), 'ok', name);
      const next = await within('the next', pidOf(pipeline), 30_000);
      t.not(next, pid, name);
      pid = next;
    }
    t.same(pipeline.restarts, []);
    await idle(pipeline);
  },
);

void t.test('longer than taskTimeoutMs: the request fails with that', async (t) => {
  const { pipeline } = await start(t, limited, SOFT);
  const { file } = counter(t);
  for (const name of ['listens', 'sleeps', 'holds']) {
    const error = await within('the failure', outcome(pipeline.run({ meta: { act: name, file } })), 30_000);
    t.match(error, { code: 'RDMA_ERR_STAGE_FAILED', message: /longer than 400 ms \(taskTimeoutMs\)/ }, name);
  }
  t.ok((await within('a result', pidOf(pipeline), 30_000)) > 0);
  t.same(pipeline.restarts, []);
  await idle(pipeline);
});

void t.test('a child that forks answers once', async (t) => {
  const { pipeline } = await start(t, act, SOFT);
  const pid = await pidOf(pipeline);
  for (let i = 0; i < 3; i++) {
    const { outputs } = await within('the result', pipeline.run({ meta: { act: 'forks' } }), 30_000);
    t.same(outputs[0]!.meta, { pid, status: 0 });
  }
  t.equal(await pidOf(pipeline), pid);
});

void t.test('what it prints without end is bounded, and the pipeline works on', async (t) => {
  const { pipeline } = await start(t, act, SOFT);
  t.equal(await within('the result', outcome(pipeline.run({ meta: { act: 'prints', kib: 32 * 1024 } })), 60_000), 'ok');
  const { droppedLogBytes } = await statusOf(pipeline);
  t.ok(droppedLogBytes > 16 * 2 ** 20, `${droppedLogBytes} bytes are in no log`);
  t.ok((await pidOf(pipeline)) > 0);
});

void t.test('what it has started ends with it: with Python, with its stage process, with the pipeline', async (t) => {
  for (const end of ['python', 'stage', 'close']) {
    const pipeline = await LocalPipeline.start(act, SOFT);
    t.teardown(() => pipeline.close());
    const { outputs } = await within('the result', pipeline.run({ meta: { act: 'starts' } }), 30_000);
    const { pid, pids } = outputs[0]!.meta as { pid: number; pids: number[] };
    t.ok(pids.every(alive), end);
    if (end === 'python') process.kill(pid, 'SIGKILL');
    else if (end === 'stage') process.kill(pipeline.processes[0]!.pid, 'SIGKILL');
    else await within('the close', pipeline.close());
    await until(`their end with ${end}`, () => ![pid, ...pids].some(alive), 20_000);
    if (end !== 'close') t.ok((await within('the next', pidOf(pipeline), 30_000)) > 0, end);
    await within('the close', pipeline.close());
  }
});

void t.test('kills at random: no request is lost, none is wrong', async (t) => {
  const { pipeline } = await start(t, pair, SOFT);
  const total = 60;
  let done = 0;
  let kills = 0;
  const client = async (n: number) => {
    for (let i = n; i < total; i += 3) {
      const x = tensor(
        'f32',
        [20_000],
        Float32Array.from({ length: 20_000 }, (_, at) => (at + i) % 777),
      );
      const { outputs } = await within(`request ${i}`, pipeline.run({ parts: { x } }), 60_000);
      const data = outputs[0]!.parts.x!.data as Float32Array;
      t.ok(
        data.every((value, at) => value === ((at + i) % 777) * 2 + 1),
        `request ${i}`,
      );
      done++;
    }
  };
  const killer = async () => {
    while (done < total && kills < 8) {
      const at = done;
      const place = kills % 2 === 0 ? 'double/0' : 'increment/0';
      const { pid, isReady } = await statusOf(pipeline, place);
      if (pid === undefined || !isReady) continue;
      try {
        process.kill(pid, 'SIGKILL');
        kills++;
      } catch {
        // It has ended.
      }
      await until('some more results', () => done > at + 3 || done === total, 60_000);
    }
  };
  await Promise.all([client(0), client(1), client(2), killer()]);
  t.ok(kills > 3, `${kills} kills`);
  await idle(pipeline);
});
