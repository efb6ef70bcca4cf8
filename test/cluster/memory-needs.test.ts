// Proves that a pipeline states what it reserves, that this is what it takes, that it is refused where it is not there,
// and given back.
import { readFileSync } from 'node:fs';
import t from 'tap';
import { LocalPipeline } from '../../src/ts/cluster/index.js';
import { checkMemory } from '../../src/ts/cluster/memory-needs.js';
import { memoryRoom } from '../../src/ts/core/memory-room.js';
import { type RdmaError, type Workflow, workflow } from '../../src/ts/pipeline/index.js';
import { DEVICE, until, within } from '../pipeline/support.js';
import { chain } from './faulty.js';
import { children, start } from './support.js';

const MiB = 2 ** 20;

/** Shared memory that this process and those of a pipeline have touched, each page once. */
function sharedBytes(pipeline: LocalPipeline): number {
  const pids = [process.pid, ...pipeline.processes.map(({ pid }) => pid)];
  const kib = pids.map((pid) => /^Pss_Shmem: +(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))![1]);
  return kib.reduce((sum, value) => sum + Number(value) * 1024, 0);
}

void t.test('an instance takes the memory that its spec states, and gives it back', async (t) => {
  const { pipeline } = await start(t, chain);
  const first = (await pipeline.status()).memory;
  t.match(first, { processes: 3, processBytes: 3 * 16 * MiB });
  const before = sharedBytes(pipeline);
  await within('more', pipeline.scale('b', 4), 30_000);
  const { memory } = await pipeline.status();
  t.equal(memory.processes, 6);
  t.ok(memory.lanes > first.lanes);
  const taken = sharedBytes(pipeline);
  t.ok(taken < memory.laneBytes + 6 * MiB, `${taken} bytes are taken, ${memory.laneBytes} stated`);
  t.ok(taken > 0.5 * memory.laneBytes, 'nor is much more stated than taken');
  await within('fewer', pipeline.scale('b', 1), 30_000);
  t.same((await pipeline.status()).memory, first);
  await until('what they took', () => sharedBytes(pipeline) < before + MiB);
});

void t.test('what is not there is refused with the sums, before anything is started', async (t) => {
  const room = memoryRoom();
  if (room === undefined) throw new Error('this machine does not say how much memory it has');
  // Each of them alone has 64 x 64 lanes.
  let large: Workflow = workflow('large', { module: __filename }).stage('s0', { instances: 64, handler: () => ({}) });
  for (let i = 1; i <= room.bytes / (4096 * 0.5 * MiB) + 1; i++) {
    large = large.stage(`s${i}`, { instances: 64, after: [`s${i - 1}`], handler: () => ({}) });
  }
  const starting = LocalPipeline.start(large, { device: DEVICE });
  const error: RdmaError = await within('the refusal', starting).then(
    () => Promise.reject(new Error('it started')),
    (reason) => reason,
  );
  t.match(
    { ...error, message: error.message },
    {
      code: 'ENOMEM',
      message: /the pipeline needs .* for \d+ lanes, .* for \d+ processes.*(left|leaves)/,
      remedy: /instances/,
    },
  );
  t.same(children(), []);
});

void t.test('only what is more than there is now must be there', async (t) => {
  const has = { lanes: 10, laneBytes: 10 * MiB, processes: 2, processBytes: 32 * MiB };
  const needs = { lanes: 20, laneBytes: 20 * MiB, processes: 3, processBytes: 48 * MiB };
  t.doesNotThrow(() => checkMemory(needs, has, { bytes: 26 * MiB, words: '' }));
  t.throws(() => checkMemory(needs, has, { bytes: 26 * MiB - 1, words: 'the machine has little' }), {
    code: 'ENOMEM',
    message:
      /needs 26\.0 MiB more before its first request \(10\.0 MiB for 10 lanes, 16\.0 MiB for 1 processes\); the machine has little/,
  });
  t.doesNotThrow(() => checkMemory(has, needs, { bytes: 0, words: '' }), 'less is never refused');
  t.doesNotThrow(() => checkMemory(needs, has, undefined), 'nor where nothing is known');
});
