// `onepiece rping`: rping of rdma-core, in both roles.
//
// Invariant: options are rping's; what it plays is in interop/rping.
import { Command } from 'commander';
import { machine } from '../bench/kit/machine.js';
import { type RdmaError, isRdmaError } from '../core/errors.js';
import {
  DEFAULT_PORT,
  DEFAULT_SIZE,
  MAX_SIZE,
  MIN_SIZE,
  rpingClient,
  type RpingResult,
  rpingServer,
} from '../interop/rping/index.js';
import { errorLine, ExitCode, interruptible, UsageError } from './exit.js';
import { integer } from './options.js';

interface RpingFlags {
  server?: true;
  client?: true;
  address?: string;
  source?: string;
  port: number;
  count?: number;
  size?: number;
  verbose?: true;
  validate?: true;
  persistent?: true;
  debug?: true;
  json?: true;
}

export function rpingCommand(setExitCode: (code: number) => void): Command {
  return new Command('rping')
    .description('RDMA ping-pong over rdma_cm, with rping of rdma-core or another of this at the other end')
    .option('-s, --server', 'serve one client')
    .option('-c, --client', 'connect to a server')
    .option('-a, --address <address>', 'client: the server; server: where to listen, default every IPv4 address')
    .option('-I, --source <address>', 'client: the address to come from')
    .option('-p, --port <port>', 'port of rdma_cm', integer(1, 65535), DEFAULT_PORT)
    .option('-C, --count <count>', 'client: pings; 0, the default, until interrupted', integer(0, 2 ** 31 - 1))
    .option('-S, --size <bytes>', `client: bytes of a ping; default ${DEFAULT_SIZE}`, integer(MIN_SIZE, MAX_SIZE))
    .option('-v, --verbose', 'print each ping')
    .option('-V, --validate', 'compare the data')
    .option('-P, --persistent', 'server: serve every client that comes, until interrupted')
    .option('-d, --debug', 'tell on stderr what happens')
    .option('--json', 'print one JSON document for each connection instead of a line')
    .addHelpText('after', '\nExample: onepiece rping -s -V   and   onepiece rping -c -a 10.0.0.1 -C 1000 -V')
    .action(async (flags: RpingFlags) => setExitCode(await run(flags)));
}

async function run(flags: RpingFlags): Promise<number> {
  const { address, server = false, client = false, persistent = false, port, validate = false } = flags;
  if (server === client) throw new UsageError('give one of -s (server) and -c (client)');
  if (client && address === undefined) throw new UsageError('-c needs the address of the server: -a ADDRESS');
  if (client && persistent) throw new UsageError('-P goes with -s');
  if (server && flags.source !== undefined) throw new UsageError('-I goes with -c');
  let failed = false;
  const show = (result: RpingResult | RdmaError | undefined) => {
    if (result === undefined) return;
    if (isRdmaError(result)) {
      failed = true;
      process.stderr.write(`${errorLine(result)}\n`);
    } else process.stdout.write(flags.json ? json(result) : line(result));
  };
  const text = server ? 'server ping data' : 'ping data';
  const onPing =
    flags.verbose && !flags.json ? (ping: string) => process.stdout.write(`${text}: ${ping}\n`) : undefined;
  const say = (words: string) => process.stderr.write(`rping: ${words}\n`);
  const onDebug = flags.debug ? say : undefined;
  const code = await interruptible(async (signal) => {
    const common = { port, validate, onPing, onDebug, signal };
    if (server) {
      const onListening = (where: string) => say(`listening on ${where}`);
      show(await rpingServer({ ...common, host: address, persistent, onResult: show, onListening }));
    } else {
      const { size, count, source: localAddress } = flags;
      show(await rpingClient({ ...common, host: address ?? '', localAddress, size, count: count || undefined }));
    }
  });
  return code === ExitCode.OK && failed ? ExitCode.FAILURE : code;
}

function json(result: RpingResult): string {
  return `${JSON.stringify({ schemaVersion: 1, machine: machine(), rping: result })}\n`;
}

function line({ role, device, peerAddress, pings, sizeBytes, validated, elapsedMs }: RpingResult): string {
  const each = pings === 0 ? '' : `, ${((elapsedMs / pings) * 1000).toFixed(0)} us each`;
  const checked = validated ? ', all validated' : '';
  const peer = peerAddress ?? 'unknown';
  return `${role} on ${device} with ${peer}: ${pings} pings of ${sizeBytes} bytes${checked}${each}\n`;
}
