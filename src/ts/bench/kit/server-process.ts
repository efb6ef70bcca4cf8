// A server that a comparison starts for itself, such as redis-server.
//
// Invariant: it is gone when close() has ended; should this process be killed, the kernel ends it too (setpriv(1)).
import { type ChildProcess, spawn } from 'node:child_process';
import { connect } from 'node:net';
import { RdmaError } from '../../core/errors.js';
import { killed } from './kill.js';
import { findProgram } from './find-program.js';

const START_MS = 15_000;
const LOOK_MS = 20;
const SHOWN_CHARACTERS = 300;

export class ServerProcess {
  private readonly child: ChildProcess;
  private readonly program: string;
  private said = '';
  private ended = false;

  private constructor(program: string, args: readonly string[]) {
    this.program = program;
    const setpriv = findProgram('setpriv', 'apt-get install util-linux');
    this.child = spawn(setpriv, ['--pdeathsig', 'KILL', program, ...args], {
      // Out of reach of Ctrl-C: it ends when the measurement has let go of it.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const keep = (text: string) => {
      this.said = (this.said + text).slice(-SHOWN_CHARACTERS);
    };
    this.child.stdout!.setEncoding('utf8').on('data', keep);
    this.child.stderr!.setEncoding('utf8').on('data', keep);
    this.child.once('exit', () => {
      this.ended = true;
    });
    this.child.once('error', (error) => {
      this.ended = true;
      keep(error.message);
    });
  }

  /**
   * Starts a program and waits until it takes connections.
   *
   * @param address a path of a Unix socket, or a TCP port of this host
   * @throws RdmaError RDMA_ERR_PROTOCOL with what it said when it ends; RDMA_ERR_TIMEOUT; RDMA_ERR_ABORTED
   */
  static async start(
    program: string,
    args: readonly string[],
    address: { path: string } | { host: string; port: number },
    signal?: AbortSignal,
  ): Promise<ServerProcess> {
    const server = new ServerProcess(program, args);
    try {
      const end = performance.now() + START_MS;
      while (!(await answers(address))) {
        if (signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the comparison was stopped');
        if (server.ended) throw new RdmaError('RDMA_ERR_PROTOCOL', `${program} has ended; it said: ${server.words()}`);
        if (performance.now() > end) throw new RdmaError('RDMA_ERR_TIMEOUT', `${program} takes no connection`);
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      }
      return server;
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  private words(): string {
    return this.said.replace(/\s+/g, ' ').trim() || `nothing (${this.program})`;
  }

  async close(): Promise<void> {
    await killed(this.child);
  }
}

function answers(address: { path: string } | { host: string; port: number }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
