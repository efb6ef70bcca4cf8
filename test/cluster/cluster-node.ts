// A `onepiece node` of the tests' own: a real process, with workers below it. Not a test.
//
// Invariant: only the process that was started here is signalled, by its id; it is dead when the test ends.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { DEVICE, until } from '../pipeline/support.js';
import { alive, childrenOf } from './support.js';

const MAIN = join(__dirname, '../../src/ts/cli/main.js');

export interface ClusterNodeOptions {
  readonly name: string;
  /** Of the nats-server. */
  readonly url: string;
  readonly secretFile: string;
  readonly leaseMs: number;
}

export class ClusterNode {
  /** The last of what it has said. */
  said = '';

  private constructor(
    readonly name: string,
    readonly child: ChildProcess,
  ) {}

  /** Starts a node, and answers when it has joined. @throws Error with what it said, when it ends before */
  static async start({ name, url, secretFile, leaseMs }: ClusterNodeOptions): Promise<ClusterNode> {
    const args = ['node', '--control', url, '--secret-file', secretFile, '--name', name, '--device', DEVICE];
    const more = ['--lease-ms', String(leaseMs), '--json'];
    const child = spawn(process.execPath, [MAIN, ...args, ...more], { stdio: ['ignore', 'pipe', 'pipe'] });
    const node = new ClusterNode(name, child);
    const hear = (data: Buffer) => {
      node.said = (node.said + data.toString()).slice(-4000);
    };
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    await until(`node ${name}`, () => node.hasEnded || node.said.includes('"joined"'), 60_000);
    if (node.hasEnded) throw new Error(`node ${name} did not join: ${node.said}`);
    return node;
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  signal(name: 'SIGSTOP' | 'SIGCONT' | 'SIGTERM'): void {
    this.child.kill(name);
  }

  /** Ends it. Its workers end by themselves. */
  async kill(): Promise<void> {
    if (this.hasEnded) return;
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await ended;
  }

  /** The workers below a node, which are other processes in each run of it. */
  static workers(child: ChildProcess): number[] {
    return childrenOf(child.pid!);
  }

  static isThere(pid: number): boolean {
    return alive(pid);
  }
}
