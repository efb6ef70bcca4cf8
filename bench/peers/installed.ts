// Packages that only a comparison needs.
//
// Invariant: a package is loaded only when asked for; the error for a missing one has the command that installs it.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { RdmaError } from '../../src/ts/core/errors.js';

/** From where packages are looked for: this package first, then the folder in which the command runs. */
const places = () => [__filename, join(process.cwd(), 'package.json')].map((place) => createRequire(place));

/**
 * A package that is no dependency.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when it is not installed or cannot be loaded
 */
export function loadPackage<Module>(name: string): Module {
  let cause: unknown;
  for (const require of places()) {
    try {
      return require(name) as Module;
    } catch (error) {
      cause ??= error;
      if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') cause = error;
    }
  }
  if ((cause as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') throw notInstalled(name);
  const words = `the package ${name} cannot be loaded: ${cause}`;
  throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', words, { remedy: `npm install --no-save ${name}`, cause });
}

/**
 * A package that is an ES module, which not every Node.js 20 can require.
 *
 * @throws RdmaError as loadPackage()
 */
export async function importPackage<Module>(name: string): Promise<Module> {
  for (const require of places()) {
    let path: string;
    try {
      path = require.resolve(name);
    } catch {
      continue;
    }
    try {
      return (await import(pathToFileURL(path).href)) as Module;
    } catch (cause) {
      const words = `the package ${name} cannot be loaded: ${cause}`;
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', words, { remedy: `npm install --no-save ${name}`, cause });
    }
  }
  throw notInstalled(name);
}

/**
 * The version of a package.
 *
 * @param isModule it is an ES module: it is looked for and not loaded
 * @throws as loadPackage()
 */
export function packageVersion(name: string, isModule = false): string {
  if (!isModule) loadPackage(name);
  let isThere = false;
  for (const require of places()) {
    let folder: string;
    try {
      folder = dirname(require.resolve(name));
    } catch {
      continue;
    }
    isThere = true;
    // package.json may not be among a package's exports: upwards from its entry, then.
    for (; folder !== dirname(folder); folder = dirname(folder)) {
      try {
        const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
        if (manifest.name === name && typeof manifest.version === 'string') return manifest.version;
      } catch {
        // not here
      }
    }
  }
  if (!isThere) throw notInstalled(name);
  return 'of unknown version';
}

function notInstalled(name: string): RdmaError {
  const remedy = `npm install --no-save ${name}`;
  return new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `the package ${name} is not installed`, { remedy });
}
