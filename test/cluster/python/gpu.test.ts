// Proves that outputs on a GPU go from one process to the next by their handles, with a CUDA runtime over shared memory
// (test/python/fake_cudart.c): nothing is copied; a process that cannot open a handle gets the bytes through the host;
// blocks are given back when they are acknowledged, however their receiver has ended; and no request is lost with the
// GPU that held its bytes.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import type { LocalPipeline } from '../../../src/ts/cluster/index.js';
import type { Meta } from '../../../src/ts/pipeline/index.js';
import { until, within } from '../../pipeline/support.js';
import { alive, idle, outcome, start } from '../support.js';
import { fork, mixedFork, onGpu, onward } from './gpu-workflows.js';

const SOFT = { device: 'soft0' };
const COUNT = 300_000;
const SOURCE = path.resolve(__dirname, '../../../../test/python/fake_cudart.c');

const folder = mkdtempSync(path.join(os.tmpdir(), 'onepiece-gpu-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const library = path.join(folder, 'libfakecudart.so');
const compiled = spawnSync('gcc', ['-shared', '-fPIC', '-O1', '-o', library, SOURCE], { encoding: 'utf8' });
if (compiled.status !== 0) throw new Error(`gcc: ${compiled.stderr}`);
// Stage processes and their Python have the environment of this process.
process.env.ONEPIECE_CUDART = library;

interface Seen {
  looks: [number, number, number];
  kind: string;
  reader: number;
  maker: number;
}

const ask = (pipeline: LocalPipeline, value: number, more: Record<string, string> = {}) =>
  pipeline.run({ meta: { value, count: COUNT, ...more } });

async function seen(result: Promise<{ outputs: readonly { meta: Meta }[] }>): Promise<Seen> {
  return (await within('a result', result, 60_000)).outputs[0]!.meta as unknown as Seen;
}

async function gpuOf(pipeline: LocalPipeline, place: string) {
  return (await pipeline.status()).stages[place]!.python!.gpu;
}

async function allGivenBack(pipeline: LocalPipeline, place: string): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if ((await gpuOf(pipeline, place)).held === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`${place} holds blocks still`);
}

let files = 0;
/** A file by which a stage says that it runs, and learns that it may go on. */
function signals(): { file: string; count: () => number; go: () => void } {
  const file = path.join(folder, `signal-${files++}`);
  const count = () => {
    try {
      return readFileSync(file).length;
    } catch {
      return 0;
    }
  };
  return { file, count, go: () => writeFileSync(`${file}.go`, '') };
}

void t.test('an output stays on the GPU: the next stage reads it there, and its memory is used again', async (t) => {
  const { pipeline } = await start(t, onGpu, SOFT);
  for (let value = 1; value <= 20; value++) {
    const { looks, kind } = await seen(ask(pipeline, value));
    t.same(looks, [value, value, COUNT]);
    t.equal(kind, 'GpuTensor');
  }
  await allGivenBack(pipeline, 'make/0');
  t.match(await gpuOf(pipeline, 'make/0'), { isOffered: true, shared: 20, throughHost: 0, why: undefined, held: 0 });
  t.equal((await pipeline.status()).stages['make/0']!.python!.copiedBytes, 0);
  t.equal((await pipeline.status()).stages['read/0']!.python!.copiedBytes, 0);
  await idle(pipeline);
});

void t.test('many at a time: each has its own', async (t) => {
  const { pipeline } = await start(t, onGpu, SOFT);
  const results = await Promise.all(Array.from({ length: 40 }, (_, value) => seen(ask(pipeline, value))));
  for (const [value, { looks }] of results.entries()) t.same(looks, [value, value, COUNT]);
  await allGivenBack(pipeline, 'make/0');
  await idle(pipeline);
});

void t.test('two stages read the same; a stage sends on what it was given', async (t) => {
  const two = (await start(t, fork, SOFT)).pipeline;
  const { outputs } = await within('a result', ask(two, 5), 60_000);
  t.same(
    outputs.map(({ meta }) => (meta as unknown as Seen).looks),
    [
      [5, 5, COUNT],
      [5, 5, COUNT],
    ],
  );
  await allGivenBack(two, 'make/0');
  t.match(await gpuOf(two, 'make/0'), { shared: 1, throughHost: 0 });
  await idle(two);
  const three = (await start(t, onward, SOFT)).pipeline;
  t.match(await seen(ask(three, 6)), { looks: [6, 6, COUNT], kind: 'GpuTensor' });
  for (const place of ['source/0', 'make/0']) await allGivenBack(three, place);
  t.match(await gpuOf(three, 'make/0'), { shared: 1, throughHost: 0 });
  await idle(three);
});

void t.test('where a stage in JavaScript takes it too it goes through the host, and status() says why', async (t) => {
  const { pipeline } = await start(t, mixedFork, SOFT);
  const { outputs } = await within('a result', ask(pipeline, 5), 60_000);
  for (const { meta } of outputs) t.same((meta as unknown as Seen).looks, [5, 5, COUNT]);
  t.match(await gpuOf(pipeline, 'make/0'), {
    isOffered: true,
    shared: 0,
    throughHost: 1,
    why: 'right/0 opens no memory of a GPU',
    held: 0,
  });
  await idle(pipeline);
});

void t.test('where the driver gives no handles it goes through the host', async (t) => {
  process.env.FAKE_CUDA_IPC = '0';
  t.teardown(() => delete process.env.FAKE_CUDA_IPC);
  const { pipeline } = await start(t, onGpu, SOFT);
  t.match(await seen(ask(pipeline, 5)), { looks: [5, 5, COUNT], kind: 'Tensor' });
  t.match(await gpuOf(pipeline, 'make/0'), { isOffered: false, throughHost: 1 });
  t.match((await gpuOf(pipeline, 'read/0')).why, /operation not supported/);
  await idle(pipeline);
});

void t.test('a receiver that is killed reads the same again, and the block is given back', async (t) => {
  const { pipeline } = await start(t, onGpu, SOFT);
  const { file, count, go } = signals();
  const first = await seen(ask(pipeline, 1));
  const result = seen(ask(pipeline, 2, { read: 'waits', file }));
  await until('its start', () => count() === 1, 30_000);
  t.ok((await gpuOf(pipeline, 'make/0')).held >= 1);
  process.kill(first.reader, 'SIGKILL');
  await until('its second start', () => count() === 2, 30_000);
  go();
  const second = await result;
  t.same(second.looks, [2, 2, COUNT]);
  t.not(second.reader, first.reader);
  t.equal(second.maker, first.maker, 'the one that made it has noticed nothing');
  await allGivenBack(pipeline, 'make/0');
  t.same(pipeline.restarts, []);
  t.equal((await seen(ask(pipeline, 3))).kind, 'GpuTensor', 'a new process is reached as well');
  await idle(pipeline);
});

void t.test('the receiver is stopped: it is replaced, and reads the same', async (t) => {
  const { pipeline } = await start(t, onGpu, { ...SOFT, heartbeatMs: 500 });
  const { file, count } = signals();
  t.same((await seen(ask(pipeline, 2, { read: 'stops', file }))).looks, [2, 2, COUNT]);
  t.equal(count(), 2);
  await allGivenBack(pipeline, 'make/0');
  await idle(pipeline);
});

void t.test('the maker is killed while its output is read: it is made again, once more from its inputs', async (t) => {
  const { pipeline } = await start(t, onGpu, SOFT);
  const { file, count, go } = signals();
  const first = await seen(ask(pipeline, 1));
  const result = seen(ask(pipeline, 2, { read: 'waits', file }));
  await until('its start', () => count() === 1, 30_000);
  process.kill(first.maker, 'SIGKILL');
  await until('its end', () => !alive(first.maker));
  go();
  const second = await result;
  t.same(second.looks, [2, 2, COUNT]);
  t.not(second.maker, first.maker);
  t.equal(pipeline.restarts.length, 1, 'its stage process was replaced');
  await allGivenBack(pipeline, 'make/0');
  t.same((await seen(ask(pipeline, 3))).looks, [3, 3, COUNT]);
  await idle(pipeline);
});

void t.test('the maker is killed while outputs wait: all of them come, and none of another request', async (t) => {
  const { pipeline } = await start(t, onGpu, SOFT);
  const { maker } = await seen(ask(pipeline, 1));
  const { file, count, go } = signals();
  const blocked = seen(ask(pipeline, 100, { read: 'waits', file }));
  await until('its start', () => count() === 1, 30_000);
  const others = Array.from({ length: 6 }, (_, i) => seen(ask(pipeline, i)));
  for (let i = 0; i < 500 && (await gpuOf(pipeline, 'make/0')).held < 4; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  process.kill(maker, 'SIGKILL');
  go();
  t.same((await blocked).looks, [100, 100, COUNT]);
  for (const [i, result] of others.entries()) t.same((await result).looks, [i, i, COUNT]);
  await allGivenBack(pipeline, 'make/0');
  await idle(pipeline);
});

void t.test('failures, cancellations and time-outs of either stage give the block back', async (t) => {
  const { pipeline } = await start(t, onGpu, SOFT);
  for (const stage of ['make', 'read']) {
    const error = await within('an error', outcome(ask(pipeline, 1, { [stage]: 'raises' })), 30_000);
    t.match(error, { code: 'RDMA_ERR_STAGE_FAILED', message: /as ordered/ });
    const stop = new AbortController();
    const run = outcome(pipeline.run({ meta: { value: 1, count: COUNT, [stage]: 'loops' } }, { signal: stop.signal }));
    setTimeout(() => stop.abort(), 100);
    t.not(await within('the cancellation', run, 30_000), 'ok');
    const late = outcome(pipeline.run({ meta: { value: 1, count: COUNT, [stage]: 'loops' } }, { timeoutMs: 300 }));
    t.not(await within('the deadline', late, 30_000), 'ok');
    await allGivenBack(pipeline, 'make/0');
  }
  t.same((await seen(ask(pipeline, 3))).looks, [3, 3, COUNT]);
  await idle(pipeline);
});
