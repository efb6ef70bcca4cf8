// A nats-server of the tests' own, on a free port, with a store of its own. Not a test.
//
// Invariant: only the process that was started here is ended, by its id, and it ends with the test.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Why there is none to be tested with; undefined: there is one. */
export const NO_NATS =
  spawnSync('nats-server', ['--version']).status === 0 ? undefined : 'nats-server is not installed';

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** Whether it greets, as NATS does. */
const greets = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('data', (data) => {
      resolve(data.toString().startsWith('INFO '));
      socket.destroy();
    });
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(false));
  });

export class NatsServer {
  private child: ChildProcess | undefined;

  private constructor(
    readonly port: number,
    private readonly folder: string,
  ) {}

  /** @param config more lines of its configuration */
  static async start(config = '', jetstream = ''): Promise<NatsServer> {
    const server = new NatsServer(await freePort(), mkdtempSync(join(tmpdir(), 'onepiece-nats-')));
    server.configure(config, jetstream);
    await server.run();
    return server;
  }

  get url(): string {
    return `nats://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.child!.pid!;
  }

  configure(config: string, jetstream = ''): void {
    const { port, folder } = this;
    const own = `listen: "127.0.0.1:${port}"\njetstream { store_dir: "${folder}/data"\n${jetstream} }\n`;
    writeFileSync(join(folder, 'nats.conf'), `${own}${config}\n`);
  }

  /** Starts it, with what its folder holds. */
  async run(): Promise<void> {
    this.child = spawn('nats-server', ['-c', join(this.folder, 'nats.conf')], { stdio: 'ignore' });
    for (let i = 0; i < 1000; i++) {
      if (await greets(this.port)) return;
      if (this.child.exitCode !== null) break;
      await sleep(20);
    }
    await this.kill();
    throw new Error('nats-server did not start');
  }

  signal(name: 'SIGSTOP' | 'SIGCONT' | 'SIGHUP'): void {
    this.child?.kill(name);
  }

  /** What it has used of processors so far, in ms. */
  cpuMs(): number {
    const stat = readFileSync(`/proc/${this.pid}/stat`, 'utf8');
    const [user, system] = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .slice(11, 13)
      .map(Number);
    return (user! + system!) * 10;
  }

  /** Kills it; its folder stays. */
  async kill(): Promise<void> {
    const { child } = this;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
