// One worker process, seen from its supervisor.
//
// Invariant: exactly one `onExit` follows every start, whatever ended the process. It leads a process group, which
// includes processes that its handlers start, and which ends with it.
import { type ChildProcess, fork } from 'node:child_process';
import { closeSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { RdmaError } from '../core/errors.js';
import { type RunningTask, TaskBoard } from '../pipeline/index.js';
import { createSharedMemory, releaseSharedMemory } from '../verbs/shared-memory.js';
import { BOARD_BYTES, type FromWorker, type ToWorker, unwrap, type WorkerConfig, wrap } from './protocol.js';
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
  const where = folder || 'this bundle';
  const text = `the program of worker processes, worker-start.js of onepiece-rdma, is not in ${where}`;
  const remedy = 'keep onepiece-rdma out of the bundle (esbuild: --external:onepiece-rdma)';
  throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', text, { remedy });
}

// Before the process starts: CUDA reads it once.
function environmentOf({ cudaDevices }: WorkerConfig): { env?: NodeJS.ProcessEnv } {
  return cudaDevices === undefined ? {} : { env: { ...process.env, CUDA_VISIBLE_DEVICES: cudaDevices } };
}

export class WorkerProcess {
  /** Set by `failed`: why the process gave up. */
  failure: RdmaError | undefined;
  private readonly child: ChildProcess;
  private readonly board: TaskBoard;
  private lastTasks: RunningTask[] | undefined; // once it has ended
  private readonly exited: Promise<void>;

  /** @throws RdmaError RDMA_ERR_NOT_SUPPORTED in a bundle; EMFILE, ENOMEM */
  constructor(config: WorkerConfig, hooks: WorkerHooks) {
    const program = workerProgram();
    const { fd, buffer } = createSharedMemory(BOARD_BYTES);
    this.board = new TaskBoard(buffer);
    try {
      // What a handler prints goes to stderr: stdout belongs to the results of the parent. In a session of its own
      // Ctrl-C does not reach it: the parent decides what that means. The board is its descriptor 4 (BOARD_FD).
      this.child = fork(program, [], {
        stdio: ['ignore', 2, 2, 'ipc', fd],
        execArgv: workerExecArgv(process.execArgv),
        detached: true,
        ...environmentOf(config),
      });
    } finally {
      closeSync(fd);
    }
    this.exited = new Promise((resolve) => {
      let over = false;
      const end = (reason: string) => {
        if (over) return;
        over = true;
        this.lastTasks = this.board.read();
        releaseSharedMemory(buffer);
        endGroup(this.child.pid);
        resolve();
        hooks.onExit(reason);
      };
      this.child.on('exit', (code, signal) => end(signal === null ? `exit code ${code}` : `signal ${signal}`));
      this.child.on('error', (error) => {
        if (this.child.pid === undefined) end(`it could not be started: ${error.message}`);
      });
    });
    this.child.on('message', (received) => {
      const message = unwrap<FromWorker>(received);
      if (message === undefined) return;
      if (message.type === 'failed') this.failure = RdmaError.fromJSON(message.error);
      hooks.onMessage(message);
    });
    this.send({ type: 'start', config });
  }

  get pid(): number | undefined {
    return this.child.pid;
  }

  /** The tasks that it runs; when it has ended, those that it ran then. */
  get tasks(): RunningTask[] {
    return this.lastTasks ?? this.board.read();
  }

  send(message: ToWorker): void {
    // A process that is ending takes no messages; its exit is reported on its own.
    if (this.child.connected) this.child.send(wrap(message), () => {});
  }

  /** Ends the process now. */
  kill(): void {
    this.child.kill('SIGKILL');
  }

  /** Asks the process to end, and ends it after 2 s. */
  async stop(): Promise<void> {
    this.send({ type: 'stop' });
    const timer = setTimeout(() => this.kill(), STOP_MS);
    await this.exited;
    clearTimeout(timer);
  }
}

// What the handlers of a process that has ended have started and left. See kill(2): a negative number is a group.
function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nobody is left in it.
  }
}
