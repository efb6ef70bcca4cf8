// Proves: each optional package that is missing is one clear line with its install command and code 1, before anything
// is started; and neither the library nor its subpaths load any of them.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { packageRoot } from '../../src/ts/addon/native.js';
import { MAIN, scratch } from './command.js';

void t.test(
  'each package that is missing is one line with its command, and the library alone loads none',
  async (t) => {
    const own = join(packageRoot(), 'node_modules');
    const peers = ['fastify', 'pino', 'lmdb', 'redis', 'prom-client', '@opentelemetry'];
    /** The package as it is where these are not installed. */
    const without = (left: readonly string[]) => {
      const folder = scratch();
      const modules = join(folder, 'node_modules');
      mkdirSync(modules);
      for (const name of readdirSync(own)) if (!left.includes(name)) symlinkSync(join(own, name), join(modules, name));
      for (const name of ['lib', 'build', 'package.json']) symlinkSync(join(packageRoot(), name), join(folder, name));
      return (args: string[]) =>
        spawnSync(process.execPath, ['--preserve-symlinks', '--preserve-symlinks-main', ...args], {
          cwd: folder,
          encoding: 'utf8',
          timeout: 60_000,
          env: { ...process.env, XDG_STATE_HOME: folder },
        });
    };
    t.ok(existsSync(MAIN));
    for (const [missing, args] of [
      ['pino', []],
      ['prom-client', []],
      ['lmdb', []],
      ['fastify', ['--memory']],
      ['redis', ['--redis', 'redis://127.0.0.1:1']],
    ] as const) {
      const node = without([missing]);
      const { status, stdout, stderr } = node(['lib/cli/main.js', 'serve', 'demo', '--port', '0', ...args]);
      t.equal(status, 1, `${missing}: ${stderr}`);
      t.equal(stdout, '', 'nothing was started');
      t.equal(stderr.trim().split('\n').length, 1, stderr);
      t.match(stderr, new RegExp(`RDMA_ERR_NOT_SUPPORTED.*${missing}.*npm install ${missing}`));
    }
    const loaded = without(peers)([
      '-e',
      `require('./lib/index.js'); require('./lib/serve/index.js'); require('./lib/observe/index.js');
     console.log(Object.keys(require.cache).filter((f) => /node_modules\\/(${peers.join('|')})/.test(f)).length)`,
    ]);
    t.equal(loaded.stdout.trim(), '0', loaded.stderr);
  },
);
