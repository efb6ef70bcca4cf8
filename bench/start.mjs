// What a pipeline of processes costs before its first request: the time until it is ready, and what each process takes
// while nothing happens.
//
// Usage: npm run build && node bench/start.mjs [--stages 3] [--rounds 5] [--idle SECONDS] [--output-bytes BYTES]
// Invariant: the handlers do nothing and load nothing, so the figures are this package's; one JSON line on stdout.
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { LocalPipeline, workflow } from 'onepiece-rdma';

const REST_MS = 1000; // until what happened at the start is over
// until V8 has collected garbage once in every process: it begins 8 to 16 s after the last work
const QUIET_MS = 20_000;
const KIB_PER_MIB = 1024;
const NS_PER_MS = 1e6;
/** Tells the workers, which import this file too, what the workflow looks like. */
const SHAPE = 'ONEPIECE_BENCH_START';

const isWorker = process.send !== undefined && process.env[SHAPE] !== undefined;
const { values } = parseArgs({
  args: isWorker ? JSON.parse(process.env[SHAPE]) : process.argv.slice(2),
  options: {
    stages: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '5' },
    idle: { type: 'string', default: '0' },
    'output-bytes': { type: 'string', default: String(4 << 20) },
  },
});

function whole(name, least, most) {
  const value = Number(values[name]);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new RangeError(`--${name} must be a whole number from ${least} to ${most}`);
}

const stages = whole('stages', 1, 64);
const rounds = whole('rounds', 1, 1000);
const idleSeconds = whole('idle', 0, 3600);
const maxOutputBytes = whole('output-bytes', 1, 2 ** 30);

function chainOf(length) {
  let chain = workflow('start', { module: fileURLToPath(import.meta.url), maxRequestBytes: maxOutputBytes });
  for (let i = 0; i < length; i++) {
    const after = i === 0 ? 'request' : `s${i - 1}`;
    chain = chain.stage(`s${i}`, { after: [after], maxOutputBytes, handler: () => ({}) });
  }
  return chain;
}

export const chain = chainOf(stages);

/** A field of /proc/PID/smaps_rollup in MiB: proc(5). */
function memoryMiB(pid, field) {
  const line = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'));
  return Number(line[1]) / KIB_PER_MIB;
}

/** The CPU time that the threads of a process have had, in ms: the first number of schedstat, in ns. */
function cpuMs(pid) {
  return readdirSync(`/proc/${pid}/task`).reduce((sum, thread) => {
    const [onCpuNs] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ');
    return sum + Number(onCpuNs) / NS_PER_MS;
  }, 0);
}

const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];
const tenths = (number) => Number(number.toFixed(1));

async function measure(last) {
  const begin = performance.now();
  const pipeline = await LocalPipeline.start(chain);
  const startMs = performance.now() - begin;
  try {
    const pids = pipeline.processes.map(({ pid }) => pid);
    const startCpuMs = median(pids.map(cpuMs));
    await sleep(REST_MS);
    const rssMiB = median(pids.map((pid) => memoryMiB(pid, 'Rss')));
    const pssMiB = median(pids.map((pid) => memoryMiB(pid, 'Pss')));
    const anonymousMiB = median(pids.map((pid) => memoryMiB(pid, 'Anonymous')));
    if (!last || idleSeconds === 0) return { startMs, startCpuMs, rssMiB, pssMiB, anonymousMiB };
    await sleep(QUIET_MS);
    const before = pids.map(cpuMs);
    await sleep(idleSeconds * 1000);
    const spentMs = Math.max(...pids.map((pid, i) => cpuMs(pid) - before[i]));
    return { startMs, startCpuMs, rssMiB, pssMiB, anonymousMiB, idleCpuPercent: spentMs / idleSeconds / 10 };
  } finally {
    await pipeline.close();
  }
}

if (!isWorker) {
  process.env[SHAPE] = JSON.stringify(process.argv.slice(2));
  const samples = [];
  for (let round = 0; round < rounds; round++) samples.push(await measure(round === rounds - 1));
  const of = (field) => tenths(median(samples.map((sample) => sample[field])));
  console.log(
    JSON.stringify({
      test: 'start',
      stages,
      rounds,
      maxOutputBytes,
      startMs: of('startMs'),
      perWorker: {
        startCpuMs: of('startCpuMs'),
        rssMiB: of('rssMiB'),
        pssMiB: of('pssMiB'),
        anonymousMiB: of('anonymousMiB'),
        // Of the one that spends most.
        ...(idleSeconds > 0 && { idleCpuPercent: Number(samples.at(-1).idleCpuPercent.toFixed(3)) }),
      },
    }),
  );
}
