// A Redis server of the tests' own. Not a test.
import { freePort, ServerProcess, whyNot } from '../server-process.js';

/** Why there is none to be tested with; undefined: there is one. */
export const NO_REDIS = whyNot('redis-server');

export class RedisServer extends ServerProcess {
  protected readonly greeting = 'PING\r\n';
  // One that wants a password answers too.
  protected readonly answer = /^(\+PONG|-NOAUTH)/;
  private options: readonly string[] = [];

  static async start(options: readonly string[] = []): Promise<RedisServer> {
    const server = new RedisServer('redis-server', await freePort());
    server.options = options;
    await server.run();
    return server;
  }

  protected get args(): readonly string[] {
    const durable = ['--appendonly', 'yes', '--appendfsync', 'always', '--save', ''];
    const where = ['--port', `${this.port}`, '--bind', '127.0.0.1', '--dir', this.folder];
    return [...where, ...durable, ...this.options];
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }
}
