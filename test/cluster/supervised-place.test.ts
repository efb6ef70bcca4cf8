// Proves that a pipeline outlives the trouble of its places: replacements that load slowly, hang, fail for a while, or
// cannot be started at all; and that a place that does not work again costs only the requests that need it, until it
// does.
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { LocalPipeline, PipelineEvent } from '../../src/ts/cluster/index.js';
import type { RdmaError } from '../../src/ts/pipeline/index.js';
import { until, within } from '../pipeline/support.js';
import { chain, type Fault, FAULTS } from './faulty.js';
import { idle, start } from './support.js';

const failure = (promise: Promise<unknown>): Promise<RdmaError> =>
  promise.then(
    () => Promise.reject(new Error('it did not fail')),
    (error: RdmaError) => error,
  );

/** Sets what happens to processes that start from now on. */
function faults(t: { teardown: (work: () => unknown) => void }): (wanted: Record<string, Fault>) => void {
  const folder = mkdtempSync(join(tmpdir(), 'faults-'));
  const file = join(folder, 'faults.json');
  process.env[FAULTS] = file;
  t.teardown(() => {
    delete process.env[FAULTS];
    rmSync(folder, { recursive: true });
  });
  return (wanted) => writeFileSync(file, JSON.stringify(wanted));
}

/** In how many ms three processes of stages start on this machine as it is loaded now; a limit is some times that. */
async function startMs(t: Test): Promise<number> {
  const beganMs = performance.now();
  const { pipeline } = await start(t, chain, {});
  const tookMs = performance.now() - beganMs;
  await pipeline.close();
  return tookMs;
}

/** A limit for the start of a process that one which works does not reach. */
const limitOf = async (t: Test, leastMs: number) => Math.max(leastMs, Math.ceil(4 * (await startMs(t))));

function kill(pipeline: LocalPipeline, stage: string): void {
  process.kill(pipeline.processes.find((place) => place.stage === stage)!.pid, 'SIGKILL');
}

void t.test('a replacement may take longer to load than reconnectMs', async (t) => {
  const set = faults(t);
  const { pipeline } = await start(t, chain, { reconnectMs: 300, startTimeoutMs: 20_000 });
  set({ 'b/0': { blockMs: 1500 } });
  kill(pipeline, 'b');
  await within('a result', pipeline.run({}), 10_000);
  t.match(pipeline.restarts, [{ stage: 'b', reason: 'signal SIGKILL', delayMs: 0 }], 'and nobody else ended');
  await idle(pipeline);
});

void t.test('a replacement that hangs is ended after startTimeoutMs, and the next one may work', async (t) => {
  const set = faults(t);
  const events: PipelineEvent[] = [];
  const onEvent = (event: PipelineEvent) => void (event.type === 'restart' && events.push(event));
  const startTimeoutMs = await limitOf(t, 3000);
  const { pipeline } = await start(t, chain, { reconnectMs: 300, startTimeoutMs, onEvent });
  set({ 'b/0': { blockMs: 1e9 } });
  kill(pipeline, 'b');
  await until('the end of its replacement', () => events.length === 2, 3 * startTimeoutMs);
  set({});
  await within('a result', pipeline.run({}), 20_000);
  t.match(
    events.map((event) => event.type === 'restart' && event.restart),
    [
      { stage: 'b', reason: 'signal SIGKILL' },
      { stage: 'b', reason: `it was not ready within ${startTimeoutMs} ms`, delayMs: 100 },
    ],
  );
  await idle(pipeline);
});

void t.test('one that hangs again is broken: requests learn why and when to retry, until it works again', async (t) => {
  const set = faults(t);
  const startTimeoutMs = await limitOf(t, 1500);
  const { pipeline } = await start(t, chain, { startTimeoutMs });
  set({ 'b/0': { blockMs: 1e9 } });
  kill(pipeline, 'b');
  const waiting = await within('the end of the one that waits', failure(pipeline.run({})), 10 * startTimeoutMs);
  const { supervision } = await pipeline.status();
  t.match(supervision, { 'a/0': { state: 'ready' }, 'b/0': { state: 'broken', restarts: 3, hangs: 0 } });
  t.match(supervision['b/0']?.reason?.message, /b\/0 .*not ready within/);
  const later = await within('the answer', failure(pipeline.run({})), 1000);
  for (const error of [waiting, later]) {
    t.match(error, { stage: 'b', message: new RegExp(`not ready within ${startTimeoutMs} ms`) });
    t.ok(error.retryAfterMs! > 0, `after ${error.retryAfterMs} ms`);
  }
  t.equal(later.code, 'RDMA_ERR_REJECTED');
  set({});
  const answered = async () => {
    for (;;) {
      const error = await pipeline.run({}).then(
        () => undefined,
        (reason: RdmaError) => reason,
      );
      if (error === undefined) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  await within('a result', answered(), 30_000);
  t.match((await pipeline.status()).supervision['b/0'], { state: 'ready', reason: undefined });
  await idle(pipeline);
});

void t.test('where another instance works, nobody waits for the broken one, and it comes back', async (t) => {
  const set = faults(t);
  const { pipeline } = await start(t, chain, { maxRestarts: 1, startTimeoutMs: 20_000 });
  await within('a second instance', pipeline.scale('b', 2), 30_000);
  set({ 'b/1': { throws: 'the model is not there' } });
  process.kill(pipeline.processes.find(({ stage, instance }) => stage === 'b' && instance === 1)!.pid, 'SIGKILL');
  for (let i = 0; i < 50; i++) await within('a result', pipeline.run({}), 20_000);
  const state = async () => (await pipeline.status()).supervision['b/1'];
  const broken = async () => {
    while ((await state())?.state !== 'broken') await new Promise((resolve) => setTimeout(resolve, 20));
  };
  await within('the state', broken(), 20_000);
  t.match((await state())?.reason?.message, /the model is not there/);
  await within('the results', Promise.all(Array.from({ length: 50 }, () => pipeline.run({}))), 20_000);
  set({});
  const ready = async () => {
    while ((await state())?.state !== 'ready') await new Promise((resolve) => setTimeout(resolve, 20));
  };
  await within('its return', ready(), 40_000);
  await idle(pipeline);
});

void t.test('one that waits for another one to load is not blamed for it', async (t) => {
  const set = faults(t);
  const startTimeoutMs = await limitOf(t, 1500);
  const { pipeline } = await start(t, chain, { startTimeoutMs });
  set({ 'b/0': { blockMs: 1e9 } });
  kill(pipeline, 'b');
  await until('the event of b', () => pipeline.restarts.length === 1, 2 * startTimeoutMs);
  kill(pipeline, 'a');
  const error = await within('the end', failure(pipeline.run({})), 10 * startTimeoutMs);
  t.match(error.message, /b\/0 .*not ready within/);
  const ends = pipeline.restarts.map(({ stage }) => stage);
  t.equal(ends.filter((stage) => stage === 'a').length, 1, 'a is replaced once');
  t.ok(ends.filter((stage) => stage === 'b').length >= 2);
});

void t.test('a stage that cannot start for some seconds costs a few restarts, with growing pauses', async (t) => {
  const set = faults(t);
  const { pipeline } = await start(t, chain, {});
  set({ 'b/0': { throws: 'the device is resetting' } });
  kill(pipeline, 'b');
  const result = pipeline.run({});
  await until('some restarts', () => pipeline.restarts.length >= 4, 20_000);
  set({});
  await within('a result', result, 20_000);
  const delays = pipeline.restarts.map(({ delayMs }) => delayMs);
  t.same(delays, [0, 100, 200, 400, 800, 1600].slice(0, delays.length));
  t.ok(delays.length >= 4, `${delays.length} restarts`);
  t.match(pipeline.restarts[1]!.reason, /the device is resetting/);
  await idle(pipeline);
});

void t.test('a process that cannot be started, as there are no descriptors, is started later', async (t) => {
  const { pipeline } = await start(t, chain, {});
  const held: number[] = [];
  const fill = () => {
    try {
      for (;;) held.push(openSync('/dev/null', 'r'));
    } catch {} // EMFILE
  };
  fill();
  const again = setInterval(fill, 1); // what a dead process leaves is taken too
  setTimeout(() => {
    clearInterval(again);
    for (const fd of held) closeSync(fd);
  }, 300);
  kill(pipeline, 'b');
  await within('a result', pipeline.run({}), 20_000);
  t.ok(pipeline.restarts.length <= 4, `${pipeline.restarts.length} restarts`);
  await idle(pipeline);
});

void t.test('an instance that cannot start ends scale(), and nothing else', async (t) => {
  const set = faults(t);
  const { pipeline } = await start(t, chain, { maxRestarts: 2, startTimeoutMs: await limitOf(t, 5000) });
  set({ 'b/1': { throws: 'no memory on the device' } });
  const error = await within('the answer', failure(pipeline.scale('b', 2)), 60_000);
  t.match({ ...error, message: error.message }, { code: 'RDMA_ERR_STAGE_FAILED', message: /no memory on the device/ });
  t.match((await pipeline.status()).plan, { number: 3, instances: [[0], [0], [0]] }, 'as before');
  t.equal(pipeline.processes.length, 3);
  kill(pipeline, 'b');
  await within('a result', pipeline.run({}), 20_000);
  set({});
  await within('another attempt', pipeline.scale('b', 2), 20_000);
  t.match((await pipeline.status()).plan, { number: 4, instances: [[0], [0, 1], [0]] });
  await within('a result', pipeline.run({}), 20_000);
  await idle(pipeline);
  const { stages } = await pipeline.status();
  for (const [name, { plans }] of Object.entries(stages))
    t.same(plans, [4], `${name} works under the newest plan only`);
});
