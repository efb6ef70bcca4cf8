// Redis streams over a Unix socket: XADD to a stream, XREAD that blocks.
//
// Invariant: the server keeps nothing on disk and no more of a stream than may be under way.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type * as Redis from 'redis';
import { findProgram } from '../../../src/ts/bench/kit/find-program.js';
import { loadPackage, packageVersion } from '../installed.js';
import { type Dialer, type Hub, type Messenger, type MessengerContext, type OnMessage, windowOf } from './messenger.js';
import { ServerProcess } from '../../../src/ts/bench/kit/server-process.js';

const REMEDY = 'apt-get install redis-server';
const FIELD = 'm';
const THERE = 'there';
const back = (index: number) => `back-${index}`;
/** Entries that are taken with one XREAD at most. */
const READ_COUNT = 256;

const load = () => loadPackage<typeof Redis>('redis');
const program = () => findProgram('redis-server', REMEDY);
const asBuffer = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

type Client = ReturnType<typeof open>;
type Entries = [{ messages: [{ id: Buffer; message: Record<string, Buffer> }] }] | null;

function open(context: MessengerContext) {
  const { createClient, RESP_TYPES } = load();
  const client = createClient({ socket: { path: context.service, tls: false } });
  client.on('error', () => {}); // without a listener it would throw; the waiting call fails anyway
  return client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
}

async function receive(client: Client, key: string, onMessage: OnMessage): Promise<void> {
  let last: Buffer | string = '0';
  while (client.isOpen) {
    let entries: Entries;
    try {
      entries = (await client.xRead({ key, id: last }, { BLOCK: 0, COUNT: READ_COUNT })) as unknown as Entries;
    } catch (error) {
      if (!client.isOpen) return;
      throw error;
    }
    for (const { id, message } of entries?.[0].messages ?? []) {
      last = id;
      onMessage([message[FIELD]!]);
    }
  }
}

/** Two connections: a read that blocks holds up whatever comes after it. */
async function both(context: MessengerContext, key: string, onMessage: OnMessage): Promise<[Client, () => void]> {
  const writer = open(context);
  const reader = open(context);
  await Promise.all([writer.connect(), reader.connect()]);
  void receive(reader, key, onMessage);
  const close = () => {
    writer.destroy();
    reader.destroy();
  };
  return [writer, close];
}

function add(client: Client, key: string, message: Uint8Array, kept: number): void {
  const TRIM = { strategy: 'MAXLEN', strategyModifier: '=', threshold: kept } as const;
  client.xAdd(key, '*', { [FIELD]: asBuffer(message) }, { TRIM }).catch((error: unknown) => {
    if (client.isOpen) throw error;
  });
}

export const redis: Messenger = {
  name: 'redis',
  medium: 'streams over a Unix socket',
  maxBytes: 256 * 2 ** 20,
  hasBackPressure: false,
  version: () => {
    const said = spawnSync(program(), ['--version'], { encoding: 'utf8', timeout: 10_000 }).stdout;
    return `Redis ${/v=(\S+)/.exec(said)?.[1] ?? 'of unknown version'} (redis ${packageVersion('redis')})`;
  },
  async serve(folder, signal) {
    const path = join(folder, 'redis');
    const limits = ['--client-output-buffer-limit', 'normal 0 0 0', '--client-query-buffer-limit', '1gb'];
    const args = ['--port', '0', '--unixsocket', path, '--unixsocketperm', '700', '--save', '', '--dir', folder];
    const server = await ServerProcess.start(program(), [...args, ...limits], { path }, signal);
    return { address: path, close: () => server.close() };
  },
  async listen(context, onMessage): Promise<Hub> {
    const cleaner = open(context);
    await cleaner.connect();
    await cleaner.flushAll();
    cleaner.destroy();
    const [writer, close] = await both(context, THERE, onMessage);
    return {
      send: (to, message): undefined => add(writer, back(to), message, windowOf(context.sizeBytes)) as undefined,
      close: async () => close(),
    };
  },
  async dial(context, index, onMessage): Promise<Dialer> {
    const [writer, close] = await both(context, back(index), onMessage);
    const kept = windowOf(context.sizeBytes) * context.producers;
    return {
      send: (message): undefined => add(writer, THERE, message, kept) as undefined,
      close: async () => close(),
    };
  },
};
