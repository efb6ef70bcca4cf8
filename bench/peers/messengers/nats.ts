// NATS over the loopback: publish and subscribe, without JetStream.
//
// Invariant: the server's limits are raised so far that it drops nobody and nothing that a benchmark sends.
import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type * as Nats from '@nats-io/transport-node';
import { freePort } from '../../../src/ts/bench/kit/tcp-port.js';
import { findProgram } from '../../../src/ts/bench/kit/find-program.js';
import { loadPackage, packageVersion } from '../installed.js';
import type { Dialer, Hub, Messenger, MessengerContext, OnMessage } from './messenger.js';
import { ServerProcess } from '../../../src/ts/bench/kit/server-process.js';

const REMEDY = 'apt-get install nats-server';
const PACKAGE = '@nats-io/transport-node';
/** The most that nats-server takes as max_payload. */
const MAX_BYTES = 64 * 2 ** 20;
const THERE = 'there';
const back = (index: number) => `back.${index}`;

const load = () => loadPackage<typeof Nats>(PACKAGE);
const program = () => findProgram('nats-server', REMEDY);

async function open(context: MessengerContext, subject: string, onMessage: OnMessage): Promise<Nats.NatsConnection> {
  const connection = await load().connect({ servers: context.service, reconnect: false });
  connection.subscribe(subject, {
    callback: (error, message) => {
      if (error !== null) throw error;
      onMessage([message.data]);
    },
  });
  await connection.flush();
  return connection;
}

export const nats: Messenger = {
  name: 'nats',
  medium: 'TCP on the loopback',
  maxBytes: MAX_BYTES,
  hasBackPressure: false,
  version: () => {
    const said = spawnSync(program(), ['--version'], { encoding: 'utf8', timeout: 10_000 });
    const version = /v(\d\S*)/.exec(`${said.stdout}${said.stderr}`)?.[1] ?? 'of unknown version';
    return `NATS ${version} (${PACKAGE} ${packageVersion(PACKAGE)})`;
  },
  async serve(folder, signal) {
    const port = await freePort();
    const file = join(folder, 'nats.conf');
    const limits = `max_payload: ${MAX_BYTES}\nmax_pending: ${16 * MAX_BYTES}\nwrite_deadline: "60s"\n`;
    await writeFile(file, `listen: "127.0.0.1:${port}"\n${limits}`);
    const server = await ServerProcess.start(program(), ['-c', file], { host: '127.0.0.1', port }, signal);
    return { address: `127.0.0.1:${port}`, close: () => server.close() };
  },
  async listen(context, onMessage): Promise<Hub> {
    const connection = await open(context, THERE, onMessage);
    return {
      send: (to, message): undefined => connection.publish(back(to), message) as undefined,
      close: () => connection.close(),
    };
  },
  async dial(context, index, onMessage): Promise<Dialer> {
    const connection = await open(context, back(index), onMessage);
    return {
      send: (message): undefined => connection.publish(THERE, message) as undefined,
      close: () => connection.close(),
    };
  },
};
