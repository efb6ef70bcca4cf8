// Packages that only the server needs: optional peer dependencies, loaded when a server starts.
//
// Invariant: one that is missing is one clear line with the command that installs it.
import { RdmaError } from '../core/errors.js';

/**
 * Loads an optional package.
 *
 * @param name of the package
 * @param load imports it
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED, with the command that installs it, when it is missing or does not load
 */
export async function loadPeer<T>(name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (cause) {
    const code = (cause as { code?: unknown } | null)?.code;
    const isMissing = code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND';
    const text = `the server needs the package ${name}, which ${isMissing ? 'is not installed' : 'does not load here'}`;
    throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', text, { remedy: `npm install ${name}`, cause });
  }
}
