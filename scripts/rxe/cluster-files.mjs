// What a cluster on two guests reads from this machine: its secret and certificates, and the clip to compare with.
// Invariant: all of it is in one directory, which only its owner reads and which is gone when `work` has ended.

import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { Failure } from './failure.mjs';
import { runProgram } from './program.mjs';

/** @typedef {{ secret: string, tls: (name: string) => string, clip: string }} ClusterFiles names of files */

/**
 * @param {{ main: string, nodes: string[], picture: string, order: Record<string, string | number>,
 *   stop: AbortSignal, say: (text: string) => void }} options `main`: of the command line; `nodes`: who gets a
 *   certificate; `order`: what the clip shall be
 * @param {(files: ClusterFiles) => Promise<void>} work
 */
export async function withClusterFiles({ main, nodes, picture, order, stop, say }, work) {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'onepiece-pair-'));
  const onepiece = async (...words) => {
    const { code, stdout } = await runProgram([process.execPath, main, ...words], { stop, capture: true });
    if (code !== 0) throw new Failure(1, `onepiece ${words[0]} ended with ${code} on this machine`);
    return JSON.parse(stdout);
  };
  try {
    const folder = path.join(directory, 'cluster');
    await onepiece('cluster', 'init', '--json', '--dir', folder, ...nodes.flatMap((name) => ['--node', name]));
    const clip = path.join(directory, 'clip.webp');
    const options = Object.entries(order).flatMap(([name, value]) => [`--${name}`, `${value}`]);
    const { output } = await onepiece('demo', picture, '--json', '--output', clip, ...options);
    say(`onepiece demo on this machine: ${output.bytes} bytes, SHA-256 ${output.sha256}`);
    await work({
      secret: path.join(folder, 'secret'),
      tls: (name) => path.join(folder, 'nodes', name),
      clip,
    });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
