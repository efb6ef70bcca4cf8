// Whether the demo's stages in Python can run on this machine.
//
// Invariant: an error names what is missing and its remedy in one line, before any process of the pipeline starts.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { DemoError } from './errors.js';

/** Environment variable that names the Python interpreter; set it before python-workflow.ts is imported. */
export const DEMO_PYTHON = 'ONEPIECE_DEMO_PYTHON';

const NEEDED = 'import sys, numpy; sys.exit(sys.version_info < (3, 9))';

/**
 * Checks that an interpreter can run the stages.
 *
 * @param program the interpreter, a path or a name
 * @throws DemoError DEMO_ERR_PYTHON_MISSING, which says what to install: Python 3.9 or later, or NumPy
 */
export async function checkDemoPython(program: string): Promise<void> {
  try {
    await promisify(execFile)(program, ['-c', NEEDED], { timeout: 60_000 });
  } catch (cause) {
    const { code, stderr } = cause as { code?: unknown; stderr?: string };
    if (typeof code === 'string') {
      throw missing(
        `${program} cannot be started (${code}): install Python 3.9 or later, or give --interpreter`,
        cause,
      );
    }
    if (/No module named 'numpy'/.test(stderr ?? '')) {
      const how = 'on Debian "apt-get install python3-numpy"';
      throw missing(`${program} has no NumPy: install it (${how}), or give another --interpreter`, cause);
    }
    const last = stderr?.trim().split('\n').at(-1);
    throw missing(`${program} cannot run the stages: ${last ? last : 'Python 3.9 or later is needed'}`, cause);
  }
}

function missing(words: string, cause: unknown): DemoError {
  return new DemoError('DEMO_ERR_PYTHON_MISSING', words, { cause });
}
