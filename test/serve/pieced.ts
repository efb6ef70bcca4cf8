// A workflow of the tests whose result comes in pieces; its processes import this file.
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { tensor, workflow } from '../../src/ts/pipeline/index.js';

/**
 * Publishes `count` pieces of `bytes` bytes, each filled with its number; before the piece `meta.waitAt` it waits until
 * the file `meta.gate` is there. `meta.throwAt`: it throws instead of that piece.
 */
export const pieced = workflow('pieced', { module: __filename }).stage('make', {
  maxPieces: 64,
  maxOutputBytes: 32 * 2 ** 20,
  attempts: 3,
  handler: async (task) => {
    const { meta } = task.input('request');
    const { count, bytes = 3, waitAt, gate, throwAt } = meta as Record<string, number> & { gate: string };
    for (let i = 0; i < count!; i++) {
      while (i === waitAt && !existsSync(gate)) await sleep(10, undefined, { signal: task.signal });
      if (i === throwAt) throw new Error('it was asked to fail');
      const frame = tensor('u8', [bytes], new Uint8Array(bytes).fill(i));
      await task.stream().write({ frame }, { i, media: { frame: 'image/webp' } });
    }
    return { meta: { count: count! }, parts: { sum: tensor('i32', [1], Int32Array.of(count!)) } };
  },
});
