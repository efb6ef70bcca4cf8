// The workflow of the tests that kill processes while they stream; workers import this file.
//
// Invariant: every byte of a piece follows from the request and the piece's number, and a handler's answer from what it
// has read: so a result that lacks a piece, or mixes those of two requests, shows it.
import { type PipelineRequest, type Tensor, workflow } from '../../src/ts/pipeline/index.js';
import { setTimeout as sleep } from 'node:timers/promises';

export const PIECES = 12;
const PIECE_BYTES = 40_000;
const PAUSE_MS = 2;

const byteOf = (seed: number, number: number): number => (seed * 31 + number * 7 + 1) & 0xff;
const expected = (seed: number): number => {
  let sum = 0;
  for (let number = 0; number < PIECES; number++) sum += byteOf(seed, number) * PIECE_BYTES;
  return sum;
};

function sumOf(tensor: Tensor | undefined): number {
  if (tensor === undefined) return -1;
  let sum = 0;
  for (const byte of tensor.data as Uint8Array) sum += byte;
  return sum;
}

/** Makes pieces, changes each of them as it comes, and sums up what comes by both ways. */
export const streams = workflow('streams', { module: __filename })
  .stage('make', {
    maxPieces: PIECES,
    attempts: 1000, // its processes are killed
    handler: async (task) => {
      const seed = Number(task.input('request').meta.seed);
      for (let number = 0; number < PIECES; number++) {
        const { clip } = task.output({ clip: { dtype: 'u8', shape: [PIECE_BYTES] } });
        (clip.data as Uint8Array).fill(byteOf(seed, number));
        await task.stream().write({ clip }, { run: process.pid });
        await sleep(PAUSE_MS);
      }
      return { meta: { seed, run: process.pid } };
    },
  })
  .stage('change', {
    after: ['make'],
    streams: ['make'],
    maxPieces: PIECES,
    attempts: 1000, // its processes are killed
    handler: async (task) => {
      const runs = new Set<unknown>();
      for await (const { parts, meta } of task.pieces('make')) {
        runs.add(meta.run);
        const { clip } = task.output({ clip: { dtype: 'u8', shape: [PIECE_BYTES] } });
        const from = parts.clip!.data as Uint8Array;
        const to = clip.data as Uint8Array;
        for (let i = 0; i < PIECE_BYTES; i++) to[i] = from[i]! ^ 0xff;
        await task.stream().write({ clip, same: parts.clip! }, { run: process.pid });
      }
      runs.add(task.input('make').meta.run);
      if (runs.size !== 1) throw new Error(`pieces of ${runs.size} runs came together`);
      return { meta: { seed: task.input('make').meta.seed, run: process.pid } };
    },
  })
  .stage('sum', {
    after: ['make', 'change'],
    streams: ['make', 'change'],
    maxPieces: PIECES,
    attempts: 1000, // its processes are killed
    handler: async (task) => {
      let made = 0;
      let changed = 0;
      let same = 0;
      const readMade = async () => {
        for await (const { parts } of task.pieces('make')) made += sumOf(parts.clip);
      };
      const readChanged = async () => {
        for await (const { parts, number } of task.pieces('change')) {
          changed += sumOf(parts.clip);
          same += sumOf(parts.same);
          await task.stream().write({}, { number });
        }
      };
      await Promise.all([readMade(), readChanged()]);
      return { meta: { seed: task.input('make').meta.seed, made, changed, same } };
    },
  });

/** A request, and what it must come to. */
export function streamRequest(seed: number): { request: PipelineRequest; result: Record<string, number> } {
  const made = expected(seed);
  return {
    request: { meta: { seed } },
    result: { seed, made, changed: PIECES * PIECE_BYTES * 255 - made, same: made },
  };
}

/** Its result is read piece by piece. */
export const threePieces = workflow('three-pieces', { module: __filename }).stage('make', {
  maxPieces: 3,
  handler: async (task) => {
    for (let number = 0; number < 3; number++) await task.stream().write({}, { number });
    return {};
  },
});
