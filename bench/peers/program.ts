// Programs of others that a benchmark runs beside its own.
//
// Invariant: a program is gone when run(), serve() or kill() has ended, however that ends; each is started below
// timeout(1), so that it ends in bounded time even when this process is killed.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { RdmaError } from '../../src/ts/core/errors.js';
import { freePort, isListening } from '../../src/ts/bench/kit/tcp-port.js';

const START_MS = 30_000;
const LOOK_MS = 20;
/** Between the polite and the final signal. */
const GRACE_S = 5;
const MAX_OUTPUT = 1 << 20;
const SHOWN_CHARACTERS = 300;
/** What timeout(1) ends with when it had to send TERM, and KILL. */
const TIMED_OUT = [124, 137];

export interface ProgramOptions {
  /** After so many seconds it is ended. */
  limitS: number;
  /** Added to the environment. */
  env?: Record<string, string>;
  /** It is asked to end first (SIGTERM), because it has something to clean up. */
  polite?: boolean;
  signal?: AbortSignal | undefined;
}

/**
 * What a program says about its version.
 *
 * @param remedy how it is installed
 * @returns standard output and standard error
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when it is not installed
 */
export function askVersion(program: string, args: readonly string[], remedy: string): string {
  const asked = spawnSync(program, args, { encoding: 'utf8', timeout: 10_000 });
  if ((asked.error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${program} is not installed`, { remedy });
  }
  return `${asked.stdout ?? ''}${asked.stderr ?? ''}`;
}

/**
 * Runs a program to its end.
 *
 * @returns what it said
 * @throws RdmaError RDMA_ERR_PROTOCOL with its last words when it fails; RDMA_ERR_TIMEOUT; RDMA_ERR_ABORTED
 */
export async function run(program: string, args: readonly string[], options: ProgramOptions): Promise<string> {
  const running = new Program(program, args, options);
  try {
    await running.end(options.signal);
    throwIfStopped(options.signal);
    if (running.code !== 0) throw failed(program, running);
    return running.output;
  } finally {
    await running.kill();
  }
}

/**
 * Runs a server and, once it listens, a client of it.
 *
 * @param serverArgs what the server gets for a free TCP port
 * @param clientArgs what the client gets
 * @returns what the client said
 * @throws as run()
 */
export async function serve(
  program: string,
  serverArgs: (port: string) => readonly string[],
  clientArgs: (port: string) => readonly string[],
  options: ProgramOptions,
): Promise<string> {
  const port = await freePort();
  const server = new Program(program, serverArgs(String(port)), options);
  try {
    const end = performance.now() + START_MS;
    while (!isListening(port)) {
      throwIfStopped(options.signal);
      if (server.ended) throw failed(program, server);
      if (performance.now() > end) throw new RdmaError('RDMA_ERR_TIMEOUT', `the server of ${program} does not listen`);
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    return await run(program, clientArgs(String(port)), options);
  } finally {
    await server.kill();
  }
}

function throwIfStopped(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the comparison was stopped');
}

function failed(program: string, { code, output }: Program): RdmaError {
  const words = output
    .replace(/[-*]{4,}|\s+/g, ' ')
    .trim()
    .slice(-SHOWN_CHARACTERS);
  const said = `it said: ${words || 'nothing'}`;
  if (TIMED_OUT.includes(code as number)) {
    return new RdmaError('RDMA_ERR_TIMEOUT', `${program} did not end in time; ${said}`);
  }
  return new RdmaError('RDMA_ERR_PROTOCOL', `${program} ended with ${code}; ${said}`);
}

/** A program in a process group of its own, and what it says. */
class Program {
  output = '';
  code: number | string | undefined;
  private readonly child: ChildProcess;
  private readonly closed: Promise<void>;
  private readonly polite: boolean;

  constructor(program: string, args: readonly string[], { limitS, env, polite = false }: ProgramOptions) {
    this.polite = polite;
    const how = polite ? ['-s', 'TERM', '-k', String(GRACE_S)] : ['-s', 'KILL'];
    const command = ['--foreground', ...how, String(limitS), program, ...args];
    this.child = spawn('timeout', command, {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    const keep = (text: string) => {
      if (this.output.length < MAX_OUTPUT) this.output += text;
    };
    this.child.stdout!.setEncoding('utf8').on('data', keep);
    this.child.stderr!.setEncoding('utf8').on('data', keep);
    this.closed = new Promise((resolve) => {
      this.child.once('close', (code, name) => {
        this.code ??= code ?? name ?? 'unknown';
        resolve();
      });
      this.child.once('error', (error) => {
        this.code ??= error.message;
        resolve();
      });
    });
  }

  get ended(): boolean {
    return this.code !== undefined;
  }

  async end(signal?: AbortSignal): Promise<void> {
    let stop: (() => void) | undefined;
    const stopped = new Promise<void>((resolve) => {
      stop = resolve;
      if (signal?.aborted) resolve();
      signal?.addEventListener('abort', resolve as () => void);
    });
    await Promise.race([this.closed, stopped]);
    if (stop !== undefined) signal?.removeEventListener('abort', stop);
  }

  async kill(): Promise<void> {
    if (this.ended) return;
    if (this.polite) {
      this.send('SIGTERM');
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, GRACE_S * 1000);
      });
      await Promise.race([this.closed, late]);
      clearTimeout(timer);
      if (this.ended) return;
    }
    this.send('SIGKILL');
    await this.closed;
  }

  private send(signal: NodeJS.Signals): void {
    const { pid } = this.child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // It has ended meanwhile.
    }
  }
}
