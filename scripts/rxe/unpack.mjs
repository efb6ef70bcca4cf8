// Compressed files (kernel modules, the kernel itself).
// Invariant: the file NAME.xz, NAME.zst or NAME.gz is replaced by NAME, or the answer is false.

import path from 'node:path';

import { runProgram } from './program.mjs';

const UNPACKERS = {
  '.xz': ['xz', '-d', '-q', '-f'],
  '.gz': ['gzip', '-d', '-q', '-f'],
  '.zst': ['zstd', '-d', '-q', '-f', '--rm'],
};

/** @param {string} file @param {AbortSignal} stop @returns {Promise<boolean>} */
export async function unpack(file, stop) {
  const unpacker = UNPACKERS[path.extname(file)];
  if (unpacker === undefined) return false;
  const { code } = await runProgram([...unpacker, file], { stop, quiet: true });
  return code === 0;
}
