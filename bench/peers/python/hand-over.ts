// What Python programs use to hand arrays over: bench/peers/python-hand-over.py in each of its ways.
//
// Invariant: the array is filled, handed over and summed, as our stages do it; the sum is checked there.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { PythonPeer } from '../../../src/ts/bench/python/peer.js';
import { packageRoot } from '../../../src/ts/addon/native.js';

const MAX_OUTPUT = 2 ** 24;

/** @param way as the program calls it */
function handOver(way: string, what: string): PythonPeer {
  return {
    what,
    measure: async ({ interpreter, handOverBytes, handOvers }, warmUp, signal) => {
      const program = join(packageRoot(), 'bench', 'peers', 'python-hand-over.py');
      const args = ['-B', program, way, String(handOverBytes), String(warmUp + handOvers)];
      const { stdout } = await promisify(execFile)(interpreter, args, { signal, maxBuffer: MAX_OUTPUT });
      return (JSON.parse(stdout) as { us: number[] }).us.slice(warmUp);
    },
  };
}

export const pythonPeers: readonly PythonPeer[] = [
  handOver('copy', 'one NumPy copy in one process'),
  handOver('socket', 'Unix socket'),
  handOver('queue', 'multiprocessing.Queue, pickled'),
];
