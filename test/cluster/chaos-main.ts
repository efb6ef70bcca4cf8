// `npm run chaos:pipeline`: chaos on a pipeline for as long as one likes. Invariant: the results go to stdout, the
// progress to stderr and only on a terminal; 0: all held, 1: something did not, 2: wrong usage.
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { RedisServer } from '../jobs/redis-server.js';
import { runChaos } from './chaos.js';
import { type GatewayChaosSummary, runGatewayChaos } from './gateway-chaos.js';

const usage = `Usage: npm run chaos:pipeline -- [options]

  --seed N        decides what is sent, and which blows come after how many requests; default: by the clock
  --minutes M     how long, such as 0.5; default 5: half of it for the stages of one gateway, half for gateways
  --only WHAT     stages or gateways: all the time for it
  --store KIND    lmdb or redis: where gateways keep their jobs; default lmdb
  --gateways N    gateways at a time, 1 to 8; default 1, with redis 2
  --kills N       so many blows to gateways, instead of a time
  --clients N     clients that send, 1 to 256; default 24
  --between N     requests that end between two blows, on average; default 40
  --help          this text

A failure prints the command that runs its seed again.
`;

function readNumber(name: string, text: string | undefined, fallback: number, most: number, least = 1): number {
  const value = text === undefined ? fallback : Number(text);
  if (!(value >= least && value <= most)) throw new RangeError(`--${name} must be ${least} to ${most}, not ${text}`);
  return value;
}

interface Options {
  seed: number;
  minutes: number;
  clients: number;
  between: number;
  only: 'stages' | 'gateways' | undefined;
  store: 'lmdb' | 'redis';
  gateways: number;
  kills: number | undefined;
}

function oneOf<T extends string>(name: string, text: string | undefined, values: readonly T[]): T | undefined {
  if (text !== undefined && !values.includes(text as T))
    throw new RangeError(`--${name} must be ${values.join(' or ')}, not ${text}`);
  return text as T | undefined;
}

function readOptions(): Options | undefined {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    options: {
      seed: text,
      minutes: text,
      only: text,
      store: text,
      gateways: text,
      kills: text,
      clients: text,
      between: text,
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  const { seed, clients, between, gateways, kills } = values;
  for (const [name, value] of Object.entries({ seed, clients, between, gateways, kills })) {
    if (value !== undefined && !/^\d+$/.test(value))
      throw new RangeError(`--${name} must be a whole number, not ${value}`);
  }
  const store = oneOf('store', values.store, ['lmdb', 'redis'] as const) ?? 'lmdb';
  return {
    seed: readNumber('seed', seed, 1 + (Math.floor(Date.now() / 1000) % 1_000_000_000), 2 ** 32 - 1),
    minutes: readNumber('minutes', values.minutes, 5, 10_000, 0.01),
    clients: readNumber('clients', clients, 24, 256),
    between: readNumber('between', between, 40, 1e6),
    only: oneOf('only', values.only, ['stages', 'gateways'] as const) ?? (kills === undefined ? undefined : 'gateways'),
    store,
    gateways: readNumber('gateways', gateways, store === 'redis' ? 2 : 1, 8),
    kills: kills === undefined ? undefined : readNumber('kills', kills, 1, 1e6),
  };
}

async function main(): Promise<void> {
  let options: Options | undefined;
  try {
    options = readOptions();
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${usage}`);
    process.exitCode = 2;
    return;
  }
  if (options === undefined) {
    process.stdout.write(usage);
    return;
  }
  const { seed, only } = options;
  process.stdout.write(`seed ${seed}\n`);
  const forMs = (options.minutes * 60_000) / (only === undefined ? 2 : 1);
  if (only !== 'gateways') report('stages', await runChaos({ ...sent(options), requests: 0, blows: 0, forMs }));
  if (only !== 'stages') report('gateways', await onGateways(options, forMs));
}

const isTerminal = process.stderr.isTTY === true;

function onProgress(ended: number, blows: number): void {
  if (isTerminal) process.stderr.write(`\r${ended} ended, ${blows} blows        `);
}

const sent = ({ seed, clients, between }: Options) => ({ seed, clients, between, onProgress });

function report(what: string, summary: object): void {
  if (isTerminal) process.stderr.write('\n');
  process.stdout.write(`${JSON.stringify({ schemaVersion: 1, what, ...summary })}\n`);
}

async function onGateways(
  { seed, store, gateways, clients, kills }: Options,
  forMs: number,
): Promise<GatewayChaosSummary> {
  const common = { seed, gateways, clients, onProgress, blows: kills ?? 0, ...(kills === undefined ? { forMs } : {}) };
  if (store === 'lmdb') {
    const place = mkdtempSync(join(tmpdir(), 'onepiece-jobs-'));
    try {
      return await runGatewayChaos({ ...common, kind: store, place });
    } finally {
      rmSync(place, { recursive: true, force: true });
    }
  }
  const redis = await RedisServer.start();
  const server = {
    breakConnections: () => breakConnections(redis.port),
    restart: async () => {
      await redis.kill();
      await redis.run();
    },
  };
  try {
    return await runGatewayChaos({ ...common, kind: store, place: redis.url, server });
  } finally {
    await redis.stop();
  }
}

// All but the one that says so.
function breakConnections(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () =>
      socket.write('CLIENT KILL TYPE normal\r\nCLIENT KILL TYPE pubsub\r\n'),
    );
    let answered = '';
    socket.on('data', (data) => {
      answered += data.toString();
      if ((answered.match(/:\d+\r\n/g) ?? []).length >= 2) socket.end();
    });
    socket.on('error', reject);
    socket.on('close', () => resolve());
  });
}

main().catch((error: Error) => {
  process.stdout.write(`${error.message}\n`);
  process.exitCode = 1;
});
