// Open MPI in C and in Python (mpi4py) as peers of our pipeline: programs of ours in bench/peers, which hold the
// shapes themselves.
//
// Invariant: both programs take the same arguments and leave the same file. The processes that are counted are the
// ranks; mpirun itself, which sleeps, is not.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { RdmaError } from '../../../src/ts/core/errors.js';
import { packageRoot } from '../../../src/ts/addon/native.js';
import { Mpirun, openMpiCompilerName, openMpiName } from '../mpi/mpirun.js';
import type { OpenPipelinePeer, PipelinePeer } from '../../../src/ts/bench/pipeline/peer.js';
import { inFlightOf, limitMs, MAX_SIZE_BYTES, type PipelinePlan } from '../../../src/ts/bench/pipeline/settings.js';
import { places } from '../../../src/ts/bench/pipeline/shape.js';
import type { Measured } from '../../../src/ts/bench/pipeline/subject.js';

const START_AND_END_S = 60;
/** Nothing has to be compiled in C; Python's own warm-up is short. */
const WARM_UP_S = 0.5;
const HEAD_DOUBLES = 5;
const PYTHON_REMEDY = 'apt-get install python3-mpi4py python3-numpy openmpi-bin';

async function measure(mpirun: Mpirun, program: readonly string[], plan: PipelinePlan, signal?: AbortSignal) {
  const { shape } = plan;
  const file = join(mpirun.folder, 'samples');
  await mpirun.run({
    ranks: places[shape].length + 1,
    transport: 'shared-memory',
    command: [...program, file, ...argumentsFor(plan)],
    limitS: Math.ceil(START_AND_END_S + limitMs(plan) / 1000),
    signal,
  });
  return measuredFrom(await mpirun.doubles(file));
}

function argumentsFor(plan: PipelinePlan): string[] {
  const { shape, sizeBytes, task } = plan;
  if (task.do === 'stream') return [sizeBytes, task.pieces, task.seconds, WARM_UP_S].map(String);
  const restMs = task.do === 'rest' ? task.restMs : 0;
  return [shape, task.do, ...[sizeBytes, inFlightOf(plan), task.seconds, WARM_UP_S, restMs].map(String)];
}

function measuredFrom(all: Float64Array): Measured {
  const [requests, seconds, cpuUs, rssKib, pssKib] = all;
  if (all.length < HEAD_DOUBLES || !(seconds! > 0)) {
    throw new RdmaError('RDMA_ERR_PROTOCOL', 'a program of Open MPI has left no figures');
  }
  const samplesUs = all.slice(HEAD_DOUBLES);
  return { requests: requests!, seconds: seconds!, cpuUs: cpuUs!, rssKib: rssKib!, pssKib: pssKib!, samplesUs };
}

type CommandOf = (mpirun: Mpirun) => Promise<readonly string[]>;

async function open(command: CommandOf, streamCommand?: CommandOf): Promise<OpenPipelinePeer> {
  const mpirun = await Mpirun.open();
  try {
    const program = await command(mpirun);
    const streaming = (await streamCommand?.(mpirun)) ?? program;
    return {
      measure: (plan, signal) => measure(mpirun, plan.task.do === 'stream' ? streaming : program, plan, signal),
      close: () => mpirun.close(),
    };
  } catch (error) {
    await mpirun.close();
    throw error;
  }
}

export const openMpi: PipelinePeer = {
  name: 'openmpi',
  medium: 'MPI_Send over shared memory',
  maxBytes: MAX_SIZE_BYTES,
  streams: true,
  check: openMpiCompilerName,
  open: (signal) =>
    open(
      async (mpirun) => [await mpirun.compile('pipeline-open-mpi', signal)],
      async (mpirun) => [await mpirun.compile('stream-open-mpi', signal)],
    ),
};

interface Python {
  path: string;
  versions: string;
}

/** The first Python that has both packages; Debian's own, when another one comes before it. */
function findPython(): Python {
  const versions = 'import mpi4py, numpy; print(f"mpi4py {mpi4py.__version__} (NumPy {numpy.__version__}")';
  for (const path of ['python3', '/usr/bin/python3']) {
    const asked = spawnSync(path, ['-c', versions], { encoding: 'utf8', timeout: 30_000 });
    if (asked.status === 0) return { path, versions: asked.stdout.trim() };
  }
  const words = 'no python3 has mpi4py and NumPy';
  throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', words, { remedy: PYTHON_REMEDY });
}

export const mpi4py: PipelinePeer = {
  name: 'mpi4py',
  medium: 'comm.send over shared memory',
  maxBytes: MAX_SIZE_BYTES,
  streams: false,
  check: () => {
    const name = openMpiName();
    return `${findPython().versions}, ${name})`;
  },
  open: () => open(async () => [findPython().path, join(packageRoot(), 'bench', 'peers', 'pipeline-mpi4py.py')]),
};
