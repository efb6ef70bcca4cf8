// The GPUs of this machine, as CUDA sees them from this process.
//
// Invariant: the numbers are CUDA's: CUDA_VISIBLE_DEVICES of this process decides which GPUs there are, and in which
// order. A process started from here gets some of these GPUs, never another one. See the CUDA C++ Programming Guide,
// "CUDA Environment Variables".
import { execFile, type ExecFileException } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { RdmaError } from '../core/errors.js';
import { packageRoot } from '../addon/native.js';

/** One GPU. */
export interface Gpu {
  readonly name: string;
  readonly memoryBytes: number;
  /** The GPU and the processor share one address space. */
  readonly unifiedAddressing: boolean;
  /** It can register memory of a process (cudaHostRegister). */
  readonly hostRegister: boolean;
  /** Why registering 64 MiB failed; null: it did not, or was not tried. */
  readonly pinProblem: string | null;
  /** Why no IPC handle could be made; null: one could, or it was not tried. */
  readonly ipcProblem: string | null;
}

/** The output of `gpus.py`. */
export interface GpuInventory {
  /** Version of the loaded driver; null: none is loaded. */
  readonly driver: string | null;
  /** The CUDA version of that driver; null: its library does not answer. */
  readonly cuda: string | null;
  readonly gpus: readonly Gpu[];
  /** Whether a GPU (row) reaches the memory of another one (column). */
  readonly peers: readonly (readonly boolean[])[];
  /** Why the GPUs could not be asked; null: they were, or there are none. */
  readonly problem: string | null;
}

/** A GPU machine whose driver was idle takes up to 3 s. */
const LIMIT_MS = 30_000;

/**
 * Asks the driver, by a short Python program.
 *
 * @param interpreter 3.9 or later; default `python3`
 * @param withTrial whether to register memory and make an IPC handle on each GPU, which takes a second for each
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED when the program cannot be run
 */
export async function readGpus(interpreter = 'python3', withTrial = false): Promise<GpuInventory> {
  const program = join(packageRoot(), 'src', 'python', 'onepiece_stage', 'gpus.py');
  const args = ['-I', '-B', program, ...(withTrial ? ['--try'] : [])];
  const running = promisify(execFile)(interpreter, args, { timeout: LIMIT_MS, killSignal: 'SIGKILL' });
  const { stdout } = await running.catch((cause: ExecFileException & { stderr: string }) => {
    const lastLine = cause.stderr.trim().split('\n').at(-1);
    const why = cause.killed === true ? `no answer in ${LIMIT_MS} ms` : lastLine || cause.message;
    const text = `the GPUs cannot be counted: ${interpreter} ${program}: ${why}`;
    throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', text, { remedy: 'install Python 3.9 or later', cause });
  });
  return JSON.parse(stdout) as GpuInventory;
}

/**
 * Makes a CUDA_VISIBLE_DEVICES that shows another process some of the GPUs that this one sees.
 *
 * @param numbers of GPUs, from 0, as this process counts them; empty: the other process sees no GPU
 * @param own this process's CUDA_VISIBLE_DEVICES; default: from its environment
 * @throws RdmaError RDMA_ERR_NO_DEVICE when `own` has no such GPU
 */
export function visibleDevices(
  numbers: readonly number[],
  own: string | undefined = process.env.CUDA_VISIBLE_DEVICES,
): string {
  if (own === undefined) return numbers.join(',');
  const names = own.split(',').map((name) => name.trim());
  // CUDA stops at the first name that is no GPU, such as -1.
  const end = names.findIndex((name) => name === '' || /^-/.test(name));
  const seen = end < 0 ? names : names.slice(0, end);
  return numbers
    .map((number) => {
      const name = seen[number];
      if (name !== undefined) return name;
      const text = `GPU ${number} is not there: CUDA_VISIBLE_DEVICES of this process names ${seen.length}`;
      throw new RdmaError('RDMA_ERR_NO_DEVICE', text, { remedy: 'start it with every GPU that it is to hand out' });
    })
    .join(',');
}
