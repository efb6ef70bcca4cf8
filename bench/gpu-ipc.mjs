// Outputs that stay on the GPU of one process until the next one has taken them: how long 1 GiB takes, relative to a
// copy within one process; that no request is lost when either process is killed; that outputs of batches and of tasks
// that run at a time are right; and that the memory of the GPU comes back.
//
// Usage: npm run build && node bench/gpu-ipc.mjs [--bytes BYTES] [--rounds N] [--kills N] [--share]
//   --share: both stages on one GPU; default one for each
// Needs NVIDIA GPUs, and Python with PyTorch (PYTHON names the interpreter).
// Invariant: every result is checked, byte by byte; one JSON document on stdout; exit code 1 when a check fails.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { LocalPipeline, workflow } from 'onepiece-rdma';

/** Tells the workers, which import this file too, what the workflow looks like. */
const SHAPE = 'ONEPIECE_BENCH_GPU_IPC';
const isWorker = process.send !== undefined && process.env[SHAPE] !== undefined;
const { values } = parseArgs({
  args: isWorker ? JSON.parse(process.env[SHAPE]) : process.argv.slice(2),
  options: {
    bytes: { type: 'string', default: String(2 ** 30) },
    rounds: { type: 'string', default: '30' },
    kills: { type: 'string', default: '10' },
    share: { type: 'boolean', default: false },
  },
});
process.env[SHAPE] ??= JSON.stringify(process.argv.slice(2));
const [bytes, rounds, kills] = [values.bytes, values.rounds, values.kills].map(Number);
const interpreter = process.env.PYTHON ?? 'python3';
const sources = fileURLToPath(new URL('../src/python', import.meta.url));
const file = path.join(sources, 'bench', 'gpu_stages.py');
const resources = values.share ? { gpuMemoryBytes: 16 * 2 ** 30 } : { gpus: 1 };
const python = (name) => ({ python: { file, name, interpreter }, resources, maxOutputBytes: bytes });

export const gpuIpc = workflow('gpu-ipc', { module: fileURLToPath(import.meta.url) })
  .stage('make', python('Make'))
  .stage('take', { after: ['make'], ...python('Take') });

/** The same with outputs of a batch, and of tasks that run at a time. */
const more = (name, maker, options) =>
  workflow(name, { module: fileURLToPath(import.meta.url) })
    .stage('make', { ...python(maker), ...options })
    .stage('take', { after: ['make'], ...python('Take') });
export const gpuBatch = more('gpu-batch', 'MakeBatch', { batch: { size: 4, waitMs: 20 } });
export const gpuAsync = more('gpu-async', 'MakeAsync', { concurrency: 4 });

const p50 = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

function usedMiB() {
  const text = execFileSync('nvidia-smi', ['--query-gpu=memory.used', '--format=csv,noheader,nounits'], {
    encoding: 'utf8',
  });
  return text.trim().split('\n').map(Number);
}

async function run(pipeline, value, more = {}) {
  const { outputs } = await pipeline.run({ meta: { bytes, value, ...more } }, { timeoutMs: 120_000 });
  const { meta } = outputs[0];
  if (meta.low !== value || meta.high !== value) {
    throw new Error(`request ${value} has bytes from ${meta.low} to ${meta.high}`);
  }
  return meta;
}

async function measure(pipeline) {
  await run(pipeline, 1);
  const seen = [];
  for (let i = 0; i < rounds; i++) seen.push(await run(pipeline, i % 251));
  const plain = [];
  for (let i = 0; i < rounds; i++) plain.push(await run(pipeline, i % 251, { plain: true }));
  const { sharedUs, withinUs } = await run(pipeline, 9, { measure: true });
  const [handOverUs, shownUs, totalUs] = ['handOverUs', 'shownUs', 'totalUs'].map((name) =>
    p50(seen.map((meta) => meta[name])),
  );
  // The same way without a tensor.
  const plainHandOverUs = p50(plain.map((meta) => meta.handOverUs));
  const ways = [...new Set(seen.map(({ kind }) => kind))];
  return { ways, plainHandOverUs, handOverUs, shownUs, totalUs, sharedUs, withinUs };
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function killed(pipeline, folder) {
  const took = [];
  for (let i = 0; i < kills; i++) {
    const signal = path.join(folder, `signal-${i}`);
    const { maker, reader } = await run(pipeline, 100 + i);
    const result = run(pipeline, i, { file: signal });
    result.catch(() => {}); // waited for below
    while (!existsSync(signal)) await sleep(5);
    const victim = i % 2 === 0 ? reader : maker;
    const begin = performance.now();
    process.kill(victim, 'SIGKILL');
    // The reader's successor reads it too; and whose maker has ended is read by nobody.
    while (victim === reader ? readFileSync(signal).length < 2 : isAlive(victim)) await sleep(5);
    writeFileSync(`${signal}.go`, '');
    await result;
    took.push({ victim: victim === reader ? 'reader' : 'maker', ms: Math.round(performance.now() - begin) });
  }
  return took;
}

// Sixteen requests at a time, each with a value of its own; Take looks at every byte.
async function together(flow) {
  const pipeline = await LocalPipeline.start(flow, { device: 'soft0' });
  try {
    const ask = async (value) => {
      const { outputs } = await pipeline.run({ meta: { bytes: 2 ** 24, value } }, { timeoutMs: 120_000 });
      const { meta } = outputs[0];
      if (meta.low !== value || meta.high !== value)
        throw new Error(`request ${value} has ${meta.low} to ${meta.high}`);
      return meta;
    };
    const seen = await Promise.all(Array.from({ length: 16 }, (_, i) => ask(i + 1)));
    const most = Math.max(...seen.map((meta) => meta.together));
    if (most < 2) throw new Error('no two tasks were together');
    return { requests: seen.length, most, ways: [...new Set(seen.map(({ kind }) => kind))] };
  } finally {
    await pipeline.close();
  }
}

async function main() {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'onepiece-gpu-ipc-'));
  const before = usedMiB();
  const env = { ...process.env, PYTHONPATH: sources };
  const within = JSON.parse(execFileSync(interpreter, [file, String(bytes)], { encoding: 'utf8', env }));
  const pipeline = await LocalPipeline.start(gpuIpc, { device: 'soft0' });
  const document = { schemaVersion: 1, bytes, stages: values.share ? 'on one GPU' : 'on two GPUs', ...within };
  let failure;
  try {
    Object.assign(document, await measure(pipeline));
    document.usedMiB = usedMiB();
    document.kills = await killed(pipeline, folder);
    await sleep(3000);
    document.usedAfterKillsMiB = usedMiB();
    const { stages } = await pipeline.status();
    document.status = { make: stages['make/0'].python.gpu, take: stages['take/0'].python.gpu };
  } catch (error) {
    failure = error;
  }
  await pipeline.close();
  try {
    document.together = { batch: await together(gpuBatch), async: await together(gpuAsync) };
  } catch (error) {
    failure ??= error;
  }
  rmSync(folder, { recursive: true, force: true });
  await sleep(2000);
  document.usedBeforeMiB = before;
  document.usedAfterCloseMiB = usedMiB();
  // A copy that takes as long as the comparable one within a process is 1.
  const comparable = values.share ? document.withinUs : (document.acrossUs ?? document.withinUs);
  document.relative = { copy: comparable / document.sharedUs, withHandOver: comparable / document.totalUs };
  const isBack = document.usedAfterCloseMiB.every((used, at) => used <= before[at] + 16);
  if (failure !== undefined) document.failure = failure.message;
  process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
  process.exitCode = failure === undefined && isBack ? 0 : 1;
}

if (!isWorker) await main();
