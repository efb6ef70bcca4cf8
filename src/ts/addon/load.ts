// The file of the native addon: where it is looked for, and whether this runtime may load it.
//
// Invariant: a runtime in which the addon would crash never loads it, and every refusal says what to do instead.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { RdmaError } from '../core/errors.js';

const PACKAGE = 'onepiece-rdma';
/** The first major version of Node.js that is tested. */
const MIN_NODE_MAJOR = 20;
const OUTSIDE = `keep ${PACKAGE} out of the bundle (esbuild: --external:${PACKAGE})`;

/** The folder that this code was loaded from. A bundle that is an ES module has no `__dirname`. */
const here = typeof __dirname === 'string' ? __dirname : dirname(process.argv[1] ?? '.');

/** Runtimes that have Node-API and still cannot run the addon, by their names in `process.versions`. */
const REFUSED = {
  bun: ['Bun', 'it has no libuv, whose loop the addon waits on'],
  deno: ['Deno', 'it has no libuv, whose loop the addon waits on'],
  electron: ['Electron', 'it forbids ArrayBuffers over memory that it has not allocated'],
} as const;

/**
 * Refuses a runtime that cannot run the addon.
 *
 * @param platform as `process.platform`
 * @param versions as `process.versions`
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED on anything but Linux; in Bun, Deno and Electron; below Node.js 20
 */
export function checkRuntime(platform: string, versions: Readonly<Record<string, string | undefined>>): void {
  const refuse = (words: string, remedy: string) => new RdmaError('RDMA_ERR_NOT_SUPPORTED', words, { remedy });
  for (const [key, [name, why]] of Object.entries(REFUSED)) {
    const version = versions[key];
    if (version === undefined) continue;
    throw refuse(`${PACKAGE} does not run in ${name} ${version}: ${why}`, 'run the program with Node.js');
  }
  if (platform !== 'linux') {
    throw refuse(`${PACKAGE} runs on Linux, not on ${platform}`, 'run it in a Linux container or virtual machine');
  }
  const { node } = versions;
  if (node === undefined || Number.parseInt(node, 10) < MIN_NODE_MAJOR) {
    throw refuse(`${PACKAGE} does not run in Node.js ${node}`, `use Node.js ${MIN_NODE_MAJOR} or later`);
  }
}

/** The folder of this package above `from`; undefined: there is none, as in a bundle. */
function findRoot(from: string): string | undefined {
  for (let folder = from, depth = 0; depth < 8; folder = dirname(folder), depth++) {
    const file = join(folder, 'package.json');
    if (existsSync(file) && JSON.parse(readFileSync(file, 'utf8')).name === PACKAGE) return folder;
  }
  return undefined;
}

/**
 * The folder of this package: the nearest one above that holds its package.json.
 *
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED in a bundle, whose folder has none of the package's other files
 */
export function packageRoot(): string {
  const root = findRoot(here);
  if (root !== undefined) return root;
  const words = `the folder of ${PACKAGE} was not found above ${here}: this needs other files of the package`;
  throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', words, { remedy: OUTSIDE });
}

/** Where the addon is looked for, and what to do when it is not there or does not load. */
function place(): { folder: string; remedy: string } {
  const chosen = process.env.ONEPIECE_RDMA_PREBUILD;
  if (chosen) {
    const holds = `prebuilds/${process.platform}-${process.arch} or build/Release`;
    return { folder: chosen, remedy: `let ONEPIECE_RDMA_PREBUILD name a folder that holds ${holds}, or unset it` };
  }
  const root = findRoot(here);
  if (root !== undefined) {
    const remedy = `build it here: node ${join(root, 'scripts', 'build-native.mjs')}; it needs a C++ compiler (g++)`;
    return { folder: root, remedy };
  }
  const copy = `copy the folder prebuilds of ${PACKAGE} into ${here}, or let ONEPIECE_RDMA_PREBUILD name the folder of ${PACKAGE}`;
  return { folder: here, remedy: `${OUTSIDE}, or ${copy}` };
}

/**
 * Loads the addon: of the folder that ONEPIECE_RDMA_PREBUILD names, else of this package, else, in a bundle, of
 * build/Release or prebuilds/ beside it.
 *
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED as in {@link checkRuntime}; RDMA_ERR_NATIVE_MISSING when there is no addon
 *   for this machine, or it does not load
 * @see the documentation of node-gyp-build for the names of the files
 */
export function loadAddon(): unknown {
  checkRuntime(process.platform, process.versions);
  const { folder, remedy } = place();
  try {
    const nodeGypBuild = require('node-gyp-build') as (folder: string) => unknown;
    return nodeGypBuild(folder);
  } catch (cause) {
    const words = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause);
    const what = `the native addon for ${process.platform}-${process.arch} could not be loaded from ${folder}`;
    throw new RdmaError('RDMA_ERR_NATIVE_MISSING', `${what}: ${words}`, { cause, remedy });
  }
}
