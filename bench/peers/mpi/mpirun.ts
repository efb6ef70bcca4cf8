// mpirun(1) of Open MPI: whether it is there, and programs that run under it.
//
// Invariant: what Open MPI and its programs put into files lies in two temporary folders that close() removes; the
// transport is the one that was asked for, because every other is switched off.
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { endianness, tmpdir } from 'node:os';
import { join } from 'node:path';
import { RdmaError } from '../../../src/ts/core/errors.js';
import { packageRoot } from '../../../src/ts/addon/native.js';
import { askVersion, run } from '../program.js';
import type { PeerTransport } from '../peer.js';

const REMEDY = 'apt-get install openmpi-bin libopenmpi-dev gcc';
const COMPILE_S = 60;
const DOUBLE_BYTES = 8;
const SHARED_MEMORY = '/dev/shm';

/** The options of mpirun(1) that leave one transport only. */
const transports: Record<PeerTransport, readonly string[]> = {
  'shared-memory': ['--mca', 'btl', 'vader,self'],
  tcp: ['--mca', 'btl', 'tcp,self', '--mca', 'btl_tcp_if_include', 'lo', '--mca', 'osc', 'pt2pt'],
};

/**
 * The name of Open MPI with its version.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when it is missing
 */
export function openMpiName(): string {
  const said = askVersion('mpirun', ['--version'], REMEDY);
  const version = /\(Open MPI\)\s+(\d\S*)/.exec(said)?.[1];
  if (version !== undefined) return `Open MPI ${version}`;
  throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'mpirun is not that of Open MPI', { remedy: REMEDY });
}

/** As openMpiName(), with its compiler wrapper. @throws as that */
export function openMpiCompilerName(): string {
  const name = openMpiName();
  askVersion('mpicc', ['--version'], REMEDY);
  return name;
}

export interface MpiRun {
  ranks: number;
  transport: PeerTransport;
  /** A program and its arguments. */
  command: readonly string[];
  /** After so many seconds it is ended. */
  limitS: number;
  signal?: AbortSignal | undefined;
}

export class Mpirun {
  /** For files of the programs. */
  readonly folder: string;
  private readonly sharedFolder: string;

  private constructor(folder: string, sharedFolder: string) {
    this.folder = folder;
    this.sharedFolder = sharedFolder;
  }

  static async open(): Promise<Mpirun> {
    const folder = await mkdtemp(join(tmpdir(), 'onepiece-mpi-'));
    // Where its shared memory lies by default, too: in a file on a disk it would be slower.
    const sharedFolder = existsSync(SHARED_MEMORY) ? await mkdtemp(join(SHARED_MEMORY, 'onepiece-mpi-')) : folder;
    return new Mpirun(folder, sharedFolder);
  }

  /**
   * Compiles a program of bench/peers.
   *
   * @returns its path
   * @throws RdmaError RDMA_ERR_PROTOCOL with what the compiler said; RDMA_ERR_TIMEOUT; RDMA_ERR_ABORTED
   */
  async compile(name: string, signal?: AbortSignal): Promise<string> {
    const program = join(this.folder, name);
    const source = join(packageRoot(), 'bench', 'peers', `${name}.c`);
    await run('mpicc', ['-O2', '-o', program, source], { limitS: COMPILE_S, signal });
    return program;
  }

  /**
   * Runs a program to its end.
   *
   * @throws RdmaError RDMA_ERR_PROTOCOL with what it said when it fails; RDMA_ERR_TIMEOUT; RDMA_ERR_ABORTED
   */
  async run({ ranks, transport, command, limitS, signal }: MpiRun): Promise<void> {
    const args = [
      ...['-np', String(ranks), '--oversubscribe', '--mca', 'pml', 'ob1', ...transports[transport]],
      ...['--mca', 'btl_vader_backing_directory', this.sharedFolder, '--mca', 'osc_sm_backing_directory'],
      ...[this.sharedFolder, '--mca', 'orte_tmpdir_base', this.folder, ...command],
    ];
    // It refuses to run as root unless both of these allow it.
    const env = { OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1' };
    await run('mpirun', args, { limitS, env, polite: true, signal });
  }

  /**
   * The doubles that a program has written into a file.
   *
   * @throws RdmaError RDMA_ERR_PROTOCOL when the file holds no doubles; the errno when it cannot be read
   */
  async doubles(file: string): Promise<Float64Array> {
    const bytes = await readFile(file);
    if (bytes.length % DOUBLE_BYTES !== 0 || endianness() !== 'LE') {
      throw new RdmaError('RDMA_ERR_PROTOCOL', `a program of Open MPI has left ${bytes.length} bytes of samples`);
    }
    return new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  }

  async close(): Promise<void> {
    await Promise.all([this.folder, this.sharedFolder].map((path) => rm(path, { recursive: true, force: true })));
  }
}
