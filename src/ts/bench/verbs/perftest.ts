// Running a perftest program, server and client, on this machine.
//
// Invariant: both processes are gone when run() has ended, however it ends; each is started below timeout(1), so that
// they end in bounded time even when this process is killed.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { RdmaError } from '../../core/errors.js';
import { parsePerftest, type PerftestRow } from './perftest-table.js';
import { isLatency, type VerbsSettings, verbOf } from './settings.js';
import type { Place } from './side.js';

const START_MS = 30_000;
const LOOK_MS = 20;
/** Beyond the time that the measurement itself should take. */
const LIMIT_S = 120;
const TCP_LISTEN = '0A';
const MAX_OUTPUT = 1 << 20;

/** The program that measures what `test` measures. */
export function perftestProgram(test: VerbsSettings['test']): string {
  return `ib_${test.replace('-', '_')}`;
}

/**
 * The version of perftest that is installed.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when it is not installed, with the remedy, or when it cannot use the device
 */
export function perftestVersion(test: VerbsSettings['test'], device: string): string {
  const program = perftestProgram(test);
  if (device === 'soft0') {
    throw new RdmaError(
      'RDMA_ERR_INVALID_ARGUMENT',
      `${program} cannot run on soft0, which exists inside this library only`,
      {
        remedy: 'name a device of the kernel with --device; without one, run inside `npm run rxe -- COMMAND` with rxe0',
      },
    );
  }
  const asked = spawnSync(program, ['--version'], { encoding: 'utf8', timeout: 10_000 });
  if ((asked.error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${program} is not installed`, {
      remedy: 'apt-get install perftest',
    });
  }
  return /(\d+\.\d+)/.exec(`${asked.stdout}${asked.stderr}`)?.[1] ?? 'of unknown version';
}

/** The arguments that make perftest measure the same. @internal */
export function perftestArguments(
  place: Place,
  gidIndex: number,
  settings: VerbsSettings,
  sizeBytes: number,
): string[] {
  const { test, durationS, iterations, mtuBytes } = settings;
  const args = ['-d', place.device, '-i', String(place.ibPort), '-x', String(gidIndex)];
  if (test !== 'atomic-lat') args.push('-s', String(sizeBytes));
  else args.push('-A', settings.atomic === 'fetch-add' ? 'FETCH_AND_ADD' : 'CMP_AND_SWAP');
  if (durationS > 0) args.push('-D', String(durationS));
  else args.push('-n', String(iterations));
  if (mtuBytes > 0) args.push('-m', String(mtuBytes));
  if (settings.events) args.push('-e');
  const verb = verbOf(test);
  if (verb === 'write' || verb === 'send') args.push('-I', String(settings.inlineBytes));
  if (verb === 'send') args.push('-r', String(settings.rxDepth));
  if (isLatency(test)) return args;
  args.push('-t', String(settings.txDepth), '-q', String(settings.qps));
  args.push('-Q', String(settings.cqMod));
  if (settings.postList > 1) args.push('-l', String(settings.postList));
  if (settings.bidirectional) args.push('-b');
  return args;
}

/**
 * Runs the program once.
 *
 * @param args as perftestArguments makes them
 * @param seconds how long the measurement should take at most
 * @throws RdmaError RDMA_ERR_PROTOCOL with what it said when it fails or prints no table; RDMA_ERR_TIMEOUT;
 *   RDMA_ERR_ABORTED
 */
export async function runPerftest(
  program: string,
  args: readonly string[],
  seconds: number,
  signal?: AbortSignal,
): Promise<PerftestRow> {
  const port = await freePort();
  const limitS = LIMIT_S + Math.ceil(seconds);
  const server = new Program(program, [...args, '-p', String(port)], limitS);
  let client: Program | undefined;
  try {
    const end = performance.now() + START_MS;
    while (!isListening(port)) {
      if (signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the comparison was stopped');
      if (server.ended) throw failed(program, server);
      if (performance.now() > end) throw new RdmaError('RDMA_ERR_TIMEOUT', `the server of ${program} does not listen`);
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    client = new Program(program, [...args, '-p', String(port), '127.0.0.1'], limitS);
    await client.end(signal);
    if (signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the comparison was stopped');
    if (client.code !== 0) throw failed(program, client);
    return parsePerftest(client.output)[0]!;
  } finally {
    await client?.kill();
    await server.kill();
  }
}

function failed(program: string, { code, output }: Program): RdmaError {
  const TIMED_OUT = 137; // timeout(1) with KILL
  const words = output
    .replace(/[-*]{4,}|\s+/g, ' ')
    .trim()
    .slice(-300);
  if (code === TIMED_OUT) return new RdmaError('RDMA_ERR_TIMEOUT', `${program} did not end in time; it said: ${words}`);
  return new RdmaError('RDMA_ERR_PROTOCOL', `${program} ended with ${code}; it said: ${words || 'nothing'}`);
}

/** A program in a process group of its own, and what it says. */
class Program {
  output = '';
  code: number | string | undefined;
  private readonly child: ChildProcess;
  private readonly closed: Promise<void>;

  constructor(program: string, args: readonly string[], limitS: number) {
    const command = ['--foreground', '-s', 'KILL', String(limitS), program, ...args];
    this.child = spawn('timeout', command, { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
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
    const { pid } = this.child;
    if (this.ended || pid === undefined) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // It has ended meanwhile.
    }
    await this.closed;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0);
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** Whether a socket of this network namespace listens on a TCP port; looking does not disturb it, as connecting would. */
function isListening(port: number): boolean {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return ['/proc/net/tcp', '/proc/net/tcp6'].some((file) => {
    let text: string;
    try {
      text = readFileSync(file, 'latin1');
    } catch {
      return false;
    }
    return text.split('\n').some((line) => {
      const [, local, , state] = line.trim().split(/\s+/);
      return state === TCP_LISTEN && local?.endsWith(suffix) === true;
    });
  });
}
