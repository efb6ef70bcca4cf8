// Open MPI as a peer: a program of ours (bench/peers/open-mpi.c) that its own compiler wrapper compiles.
//
// Invariant: the transport is the one that was asked for; nothing is left behind when close() has ended.
import { join } from 'node:path';
import { RdmaError } from '../../../src/ts/core/errors.js';
import { percentilesOf } from '../../../src/ts/bench/kit/statistics.js';
import { Mpirun, openMpiCompilerName } from './mpirun.js';
import {
  checkRuns,
  PEER_BATCH,
  type PeerLatency,
  type PeerOperation,
  type PeerOptions,
  type PeerRate,
  type PeerRun,
  type PeerTransport,
} from '../peer.js';

const LIMIT_S = 120;

export class OpenMpi {
  private constructor(
    /** With its version. */
    readonly name: string,
    private readonly mpirun: Mpirun,
    private readonly program: string,
  ) {}

  /** @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when Open MPI or its compiler wrapper is missing */
  static check(): string {
    return openMpiCompilerName();
  }

  /**
   * Compiles the program.
   *
   * @throws RdmaError as check(); RDMA_ERR_PROTOCOL with what the compiler said; RDMA_ERR_ABORTED
   */
  static async compile(signal?: AbortSignal): Promise<OpenMpi> {
    const name = OpenMpi.check();
    const mpirun = await Mpirun.open();
    try {
      return new OpenMpi(name, mpirun, await mpirun.compile('open-mpi', signal));
    } catch (error) {
      await mpirun.close();
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
        latencyUs: percentilesOf(samplesUs),
        samplesUs,
      };
    });
  }

  /**
   * Messages a second in batches of 64: puts that are flushed together, or sends that are answered together; with
   * `touch`, the receiver reads every byte.
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

  close(): Promise<void> {
    return this.mpirun.close();
  }

  private async samples(
    mode: string,
    transport: PeerTransport,
    runs: readonly Required<PeerRun>[],
    { touch = false, signal }: PeerOptions,
  ): Promise<Float64Array[]> {
    const file = join(this.mpirun.folder, 'samples');
    const poll = transport === 'shared-memory' ? '0' : '1';
    const sized = runs.map(({ sizeBytes, iterations, warmUp }) => `${sizeBytes}:${iterations}:${warmUp}`);
    const command = [this.program, mode, touch ? '1' : '0', poll, file, ...sized];
    await this.mpirun.run({ ranks: 2, transport, command, limitS: LIMIT_S, signal });
    const all = await this.mpirun.doubles(file);
    const count = runs.reduce((sum, { iterations }) => sum + iterations, 0);
    if (all.length !== count) {
      throw new RdmaError('RDMA_ERR_PROTOCOL', `${this.name} has kept ${all.length} of ${count} samples`);
    }
    let begin = 0;
    return runs.map(({ iterations }) => {
      begin += iterations;
      return all.slice(begin - iterations, begin);
    });
  }
}
