// A process that a benchmark forks to have somebody to talk to.
//
// Invariant: it ends with its parent, however that ends; what goes wrong in it is thrown where its answer is awaited.
import { type ChildProcess, fork } from 'node:child_process';
import { RdmaError } from '../../core/errors.js';
import { dieWithParent } from '../../verbs/process.js';
import { killed } from './kill.js';

/** How long a partner may take for an answer. */
export const ANSWER_MS = 30_000;

type Message = Record<string, unknown>;

export class Partner {
  private readonly child: ChildProcess;
  private readonly answers: Message[] = [];
  private failure: RdmaError | undefined;
  private wake: (() => void) | undefined;

  /**
   * @param file the compiled program, which calls {@link serveParent}
   * @param env added to the environment
   */
  constructor(file: string, env: Readonly<Record<string, string>> = {}) {
    this.child = fork(file, [String(process.pid)], {
      stdio: ['ignore', 2, 2, 'ipc'],
      serialization: 'advanced',
      execArgv: [],
      env: { ...process.env, ...env },
    });
    this.child.on('message', (message: Message) => {
      if (typeof message.failed === 'string') this.fail(`the other process failed: ${message.failed}`);
      else this.answers.push(message);
      this.wake?.();
    });
    this.child.once('exit', (code, signal) => this.fail(`the other process ended with ${code ?? signal}`));
    this.child.once('error', (error) => this.fail(error.message));
  }

  private fail(words: string): void {
    this.failure ??= new RdmaError('RDMA_ERR_PEER_GONE', words);
    this.wake?.();
  }

  /** Its process id; 0 when it could not be started. */
  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** Its failure, if it had one. */
  get failed(): RdmaError | undefined {
    return this.failure;
  }

  tell(message: object): void {
    if (this.child.connected) this.child.send(message);
  }

  /**
   * Tells it something and waits for its next answer.
   *
   * @throws RdmaError RDMA_ERR_PEER_GONE with its words; RDMA_ERR_TIMEOUT; RDMA_ERR_ABORTED
   */
  async ask<Answer = Message>(message: object, signal?: AbortSignal, timeoutMs = ANSWER_MS): Promise<Answer> {
    this.tell(message);
    const end = performance.now() + timeoutMs;
    for (;;) {
      const answer = this.answers.shift();
      if (answer !== undefined) return answer as Answer;
      if (this.failure !== undefined) throw this.failure;
      if (signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the measurement was stopped');
      const left = end - performance.now();
      if (left <= 0) throw new RdmaError('RDMA_ERR_TIMEOUT', `the other process has not answered for ${timeoutMs} ms`);
      await this.news(left, signal);
    }
  }

  private news(timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', done);
        this.wake = undefined;
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      signal?.addEventListener('abort', done);
      this.wake = done;
    });
  }

  /** Ends it; at once, as it has nothing to clean up. */
  async end(): Promise<void> {
    await killed(this.child);
  }
}

/**
 * The other end, in the forked process: answers each request of the parent in turn.
 *
 * @param handle what it answers is sent back, unless it is undefined
 */
export function serveParent<Request extends object>(handle: (request: Request) => Promise<object | undefined>): void {
  if (process.send === undefined)
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'this program is run by a benchmark');
  const fail = (error: unknown) => {
    const words = error instanceof Error ? error.message : String(error);
    process.send?.({ failed: words }, () => process.exit(1));
  };
  try {
    dieWithParent(Number(process.argv[2]));
  } catch (error) {
    fail(error);
  }
  process.on('message', (request: Request) => {
    handle(request).then((answer) => {
      if (answer !== undefined) process.send?.(answer);
    }, fail);
  });
  process.on('uncaughtException', fail);
  process.on('unhandledRejection', fail);
  process.on('disconnect', () => process.exit(0));
  // Ctrl-C reaches the whole group; the parent ends this process when it has cleaned up.
  process.on('SIGINT', () => {});
}
