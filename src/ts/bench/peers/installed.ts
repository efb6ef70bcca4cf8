// Packages and programs that only a comparison needs.
//
// Invariant: nothing of this is loaded before it was asked for; what is missing is said with the line that installs it.
import { accessSync, constants, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import { RdmaError } from '../../core/errors.js';

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
  const missing = (cause as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND';
  const words = missing ? `the package ${name} is not installed` : `the package ${name} cannot be loaded: ${cause}`;
  throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', words, { remedy: `npm install --no-save ${name}`, cause });
}

/** The version of a package. @throws as loadPackage() */
export function packageVersion(name: string): string {
  loadPackage(name);
  for (const require of places()) {
    let folder: string;
    try {
      folder = dirname(require.resolve(name));
    } catch {
      continue;
    }
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
  return 'of unknown version';
}

/** Where Debian has programs that are not for everyone's PATH. */
const MORE_FOLDERS = ['/usr/sbin', '/usr/local/sbin'];

/**
 * The path of a program.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when it is not installed
 */
export function findProgram(name: string, remedy: string): string {
  for (const folder of [...(process.env.PATH ?? '').split(delimiter), ...MORE_FOLDERS]) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not here
    }
  }
  throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${name} is not installed`, { remedy });
}
