// A nats-server of the tests' own. Not a test.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, ServerProcess, whyNot } from '../server-process.js';

/** Why there is none to be tested with; undefined: there is one. */
export const NO_NATS = whyNot('nats-server');

export class NatsServer extends ServerProcess {
  protected readonly greeting = undefined;
  protected readonly answer = /^INFO /;

  /** @param config more lines of its configuration */
  static async start(config = '', jetstream = ''): Promise<NatsServer> {
    const server = new NatsServer('nats-server', await freePort());
    server.configure(config, jetstream);
    await server.run();
    return server;
  }

  protected get args(): readonly string[] {
    return ['-c', join(this.folder, 'nats.conf')];
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
}
