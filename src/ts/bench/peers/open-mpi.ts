// Open MPI as a peer: a program of ours (bench/peers/open-mpi.c) that its own compiler wrapper compiles.
//
// Invariant: the program, its samples and what Open MPI puts into files lie in one temporary folder that close()
// removes; the transport is the one that was asked for, because every other is switched off.
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { endianness, tmpdir } from 'node:os';
import { join } from 'node:path';
import { RdmaError } from '../../core/errors.js';
import { packageRoot } from '../../verbs/native.js';
import { askVersion, run } from '../program.js';
import {
  checkRuns,
  PEER_BATCH,
  type PeerLatency,
  type PeerOperation,
  type PeerOptions,
  type PeerRate,
  type PeerRun,
  type PeerTransport,
  percentilesUs,
} from './peer.js';

const REMEDY = 'apt-get install openmpi-bin libopenmpi-dev gcc';
const COMPILE_S = 60;
const LIMIT_S = 120;
const DOUBLE_BYTES = 8;
const SHARED_MEMORY = '/dev/shm';

/** The options of mpirun(1) that leave one transport only. */
const transports: Record<PeerTransport, readonly string[]> = {
  'shared-memory': ['--mca', 'btl', 'vader,self'],
  tcp: ['--mca', 'btl', 'tcp,self', '--mca', 'btl_tcp_if_include', 'lo', '--mca', 'osc', 'pt2pt'],
};

export class OpenMpi {
  private constructor(
    /** With its version. */
    readonly name: string,
    private readonly folder: string,
    private readonly sharedFolder: string,
  ) {}

  /** @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when Open MPI or its compiler wrapper is missing */
  static check(): string {
    const said = askVersion('mpirun', ['--version'], REMEDY);
    const version = /\(Open MPI\)\s+(\d\S*)/.exec(said)?.[1];
    if (version === undefined) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'mpirun is not that of Open MPI', { remedy: REMEDY });
    }
    askVersion('mpicc', ['--version'], REMEDY);
    return `Open MPI ${version}`;
  }

  /**
   * Compiles the program.
   *
   * @throws RdmaError as check(); RDMA_ERR_PROTOCOL with what the compiler said; RDMA_ERR_ABORTED
   */
  static async compile(signal?: AbortSignal): Promise<OpenMpi> {
    const name = OpenMpi.check();
    const folder = await mkdtemp(join(tmpdir(), 'onepiece-mpi-'));
    // Where its shared memory lies by default, too: in a file on a disk it would be slower.
    const sharedFolder = existsSync(SHARED_MEMORY) ? await mkdtemp(join(SHARED_MEMORY, 'onepiece-mpi-')) : folder;
    const peer = new OpenMpi(name, folder, sharedFolder);
    try {
      const source = join(packageRoot(), 'bench', 'peers', 'open-mpi.c');
      await run('mpicc', ['-O2', '-o', peer.program, source], { limitS: COMPILE_S, signal });
      return peer;
    } catch (error) {
      await peer.close();
      throw error;
    }
  }

  /**
   * Latency of MPI_Put, MPI_Send and MPI_Recv, or MPI_Get between two processes that both poll.
   *
   * @param runs the sizes, in one run of the program
   * @returns one for each of `runs`, with its samples
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_PROTOCOL with what mpirun said; RDMA_ERR_TIMEOUT;
   *   RDMA_ERR_ABORTED
   */
  async latency(
    operation: PeerOperation,
    transport: PeerTransport,
    runs: readonly PeerRun[],
    options: PeerOptions = {},
  ): Promise<PeerLatency[]> {
    const checked = checkRuns(runs);
    const samples = await this.samples(operation, transport, checked, options);
    return checked.map(({ sizeBytes, iterations }, i) => {
      const samplesUs = samples[i]!.sort();
      return {
        peer: this.name,
        operation,
        transport,
        touched: options.touch ?? false,
        sizeBytes,
        iterations,
        latencyUs: percentilesUs(samplesUs),
        samplesUs,
      };
    });
  }

  /**
   * Messages a second in batches of 64: puts that are flushed together, or sends that are answered together, and of which
   * every byte was read when that is asked for.
   *
   * @returns one for each of `runs`
   * @throws as latency()
   */
  async rate(
    operation: 'put' | 'send',
    transport: PeerTransport,
    runs: readonly PeerRun[],
    options: PeerOptions = {},
  ): Promise<PeerRate[]> {
    const checked = checkRuns(runs);
    const samples = await this.samples(`${operation}-rate`, transport, checked, options);
    return checked.map(({ sizeBytes, iterations }, i) => {
      const messages = iterations * PEER_BATCH;
      const tookUs = samples[i]!.reduce((sum, us) => sum + us, 0);
      const messagesPerSecond = Math.round((messages / tookUs) * 1e6);
      return { peer: this.name, operation, transport, sizeBytes, messages, messagesPerSecond };
    });
  }

  async close(): Promise<void> {
    await Promise.all([this.folder, this.sharedFolder].map((path) => rm(path, { recursive: true, force: true })));
  }

  private get program(): string {
    return join(this.folder, 'open-mpi');
  }

  private async samples(
    mode: string,
    transport: PeerTransport,
    runs: readonly Required<PeerRun>[],
    { touch = false, signal }: PeerOptions,
  ): Promise<Float64Array[]> {
    const file = join(this.folder, 'samples');
    const poll = transport === 'shared-memory' ? '0' : '1';
    const args = [
      ...['-np', '2', '--oversubscribe', '--mca', 'pml', 'ob1', ...transports[transport]],
      ...['--mca', 'btl_vader_backing_directory', this.sharedFolder, '--mca', 'osc_sm_backing_directory'],
      ...[this.sharedFolder, '--mca', 'orte_tmpdir_base', this.folder],
      ...[this.program, mode, touch ? '1' : '0', poll, file],
      ...runs.map(({ sizeBytes, iterations, warmUp }) => `${sizeBytes}:${iterations}:${warmUp}`),
    ];
    // It refuses to run as root unless it is told twice.
    const env = { OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1' };
    await run('mpirun', args, { limitS: LIMIT_S, env, polite: true, signal });
    const bytes = await readFile(file);
    const count = runs.reduce((sum, { iterations }) => sum + iterations, 0);
    if (bytes.length !== count * DOUBLE_BYTES || endianness() !== 'LE') {
      throw new RdmaError('RDMA_ERR_PROTOCOL', `${this.name} has kept ${bytes.length} bytes of ${count} samples`);
    }
    const all = new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    let begin = 0;
    return runs.map(({ iterations }) => {
      begin += iterations;
      return all.slice(begin - iterations, begin);
    });
  }
}
