// A server of other people that the tests start: on a free port, with a folder of its own. Not a test.
//
// Invariant: only the process that was started here is ended, by its id, and it ends with the test.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Why a program cannot be tested with; undefined: it is there. */
export function whyNot(program: string): string | undefined {
  return spawnSync(program, ['--version']).status === 0 ? undefined : `${program} is not installed`;
}

/** A port on which nobody listens now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

export abstract class ServerProcess {
  protected child: ChildProcess | undefined;
  protected readonly folder: string;

  /** @param program which is looked for in the path */
  protected constructor(
    private readonly program: string,
    readonly port: number,
  ) {
    this.folder = mkdtempSync(join(tmpdir(), `onepiece-${program}-`));
  }

  protected abstract get args(): readonly string[];
  /** What is said to it, to hear whether it works; undefined: it speaks first. */
  protected abstract readonly greeting: string | undefined;
  /** What it says when it works. */
  protected abstract readonly answer: RegExp;

  /** Starts it, with what its folder holds. */
  async run(): Promise<void> {
    this.child = spawn(this.program, this.args, { stdio: 'ignore' });
    for (let i = 0; i < 1000; i++) {
      if (await this.answers()) return;
      if (this.child.exitCode !== null) break;
      await sleep(20);
    }
    await this.kill();
    throw new Error(`${this.program} did not start`);
  }

  private answers(): Promise<boolean> {
    const { greeting, answer, port } = this;
    return new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => greeting !== undefined && socket.write(greeting));
      socket.on('data', (data) => {
        resolve(answer.test(data.toString()));
        socket.destroy();
      });
      socket.on('error', () => resolve(false));
      socket.on('close', () => resolve(false));
    });
  }

  /** Sends a signal to it. */
  signal(name: 'SIGSTOP' | 'SIGCONT' | 'SIGHUP'): void {
    this.child?.kill(name);
  }

  /** Kills it; its folder stays. */
  async kill(): Promise<void> {
    const { child } = this;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  /** Ends it for good. */
  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
