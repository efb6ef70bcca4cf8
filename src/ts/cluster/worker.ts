// One worker process, seen from its supervisor.
//
// Invariant: exactly one `onExit` follows every start, whatever ended the process.
import { type ChildProcess, fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { RdmaError } from '../core/errors.js';
import type { FromWorker, ToWorker, WorkerConfig } from './protocol.js';
import { workerExecArgv } from './worker-options.js';

const STOP_MS = 2000;

export interface WorkerHooks {
  onMessage(message: FromWorker): void;
  onExit(reason: string): void;
}

/**
 * The program of a worker process.
 *
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED in a bundle: a process runs a file, and the bundler has taken only its code
 */
function workerProgram(): string {
  const folder = typeof __dirname === 'string' ? __dirname : '';
  const file = join(folder, 'worker-start.js');
  if (folder !== '' && existsSync(file)) return file;
  const words = `the program of worker processes, worker-start.js of onepiece-rdma, is not in ${folder || 'this bundle'}`;
  const remedy = 'keep onepiece-rdma out of the bundle (esbuild: --external:onepiece-rdma)';
  throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', words, { remedy });
}

export class WorkerProcess {
  /** Set by `failed`: why the process gave up. */
  failure: RdmaError | undefined;
  private readonly child: ChildProcess;
  private readonly exited: Promise<void>;

  constructor(config: WorkerConfig, hooks: WorkerHooks) {
    // What a handler prints goes to stderr: stdout belongs to the results of the parent.
    this.child = fork(workerProgram(), [], {
      stdio: ['ignore', 2, 2, 'ipc'],
      execArgv: workerExecArgv(process.execArgv),
    });
    this.exited = new Promise((resolve) => {
      let over = false;
      const end = (reason: string) => {
        if (over) return;
        over = true;
        resolve();
        hooks.onExit(reason);
      };
      this.child.on('exit', (code, signal) => end(signal === null ? `exit code ${code}` : `signal ${signal}`));
      this.child.on('error', (error) => {
        if (this.child.pid === undefined) end(`it could not be started: ${error.message}`);
      });
    });
    this.child.on('message', (message: FromWorker) => {
      if (message.type === 'failed') this.failure = RdmaError.fromJSON(message.error);
      hooks.onMessage(message);
    });
    this.send({ type: 'start', config });
  }

  get pid(): number | undefined {
    return this.child.pid;
  }

  send(message: ToWorker): void {
    // A process that is ending takes no messages; its exit is reported on its own.
    if (this.child.connected) this.child.send(message, () => {});
  }

  /** Asks the process to end, and ends it after 2 s. */
  async stop(): Promise<void> {
    this.send({ type: 'stop' });
    const timer = setTimeout(() => this.child.kill('SIGKILL'), STOP_MS);
    await this.exited;
    clearTimeout(timer);
  }
}
