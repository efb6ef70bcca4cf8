// What Python programs use to hand arrays over: bench/peers/python-hand-over.py in each of its ways.
//
// Invariant: the array is filled, handed over and summed, as our stages do it; the sum is checked there. A way whose
// package that Python does not have is named with the line that installs it, and never replaced by another.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { RdmaError } from '../../../src/ts/core/errors.js';
import type { PythonPeer } from '../../../src/ts/bench/python/peer.js';
import { packageRoot } from '../../../src/ts/addon/native.js';
import { run } from '../program.js';

const LIMIT_S = 900;
const ASK_MS = 30_000;

/**
 * @param way as the program calls it
 * @param module what it imports besides the standard library
 * @param debian the package of Debian that has it
 */
function handOver(way: string, what: string, module: string, debian: string): PythonPeer {
  return {
    what,
    check: (interpreter) => {
      const asked = spawnSync(interpreter, ['-c', `import ${module}`], { encoding: 'utf8', timeout: ASK_MS });
      if (asked.status === 0) return;
      const last = asked.error?.message ?? asked.stderr.trim().split('\n').at(-1);
      const remedy = `apt-get install ${debian}`;
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${interpreter} has no module ${module}: ${last}`, { remedy });
    },
    measure: async ({ interpreter, handOverBytes, handOvers }, warmUp, signal) => {
      const program = join(packageRoot(), 'bench', 'peers', 'python-hand-over.py');
      const args = ['-B', program, way, String(handOverBytes), String(warmUp + handOvers)];
      const said = await run(interpreter, args, { limitS: LIMIT_S, signal });
      const times = said.split('\n').find((line) => line.startsWith('{"us"'));
      if (times === undefined) throw new RdmaError('RDMA_ERR_PROTOCOL', `no times of ${what}: ${said.slice(-300)}`);
      return (JSON.parse(times) as { us: number[] }).us.slice(warmUp);
    },
  };
}

export const pythonPeers: readonly PythonPeer[] = [
  handOver('copy', 'one NumPy copy in one process', 'numpy', 'python3-numpy'),
  handOver('socket', 'Unix socket', 'numpy', 'python3-numpy'),
  handOver('zeromq', 'ZeroMQ, copy=False', 'zmq', 'python3-zmq'),
  handOver('grpc', 'gRPC, bytes in one message', 'grpc', 'python3-grpcio'),
  handOver('queue', 'multiprocessing.Queue, pickled', 'numpy', 'python3-numpy'),
];
