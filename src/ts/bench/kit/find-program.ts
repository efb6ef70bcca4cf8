// Programs of others that a benchmark runs.
//
// Invariant: the error for a missing program has the command that installs it.
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { RdmaError } from '../../core/errors.js';

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
