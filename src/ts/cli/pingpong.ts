// `onepiece pingpong`: speaks with ibv_rc_pingpong, ibv_uc_pingpong, ibv_ud_pingpong, ibv_srq_pingpong, and with
// itself.
//
// Invariant: options and lines on stdout are those of the C programs; what was chosen for the person is on stderr.
import { Command, Option } from 'commander';
import { pingPong } from '../interop/pingpong/pingpong.js';
import { addressLine, pingPongReport, resultLines } from '../interop/pingpong/report.js';
import { type PingPongType, pingPongTypes } from '../interop/pingpong/settings.js';
import type { PingPongAddress } from '../interop/pingpong/bootstrap.js';
import { isRdmaError, RdmaError } from '../core/errors.js';
import { interruptible, UsageError } from './exit.js';
import { integer } from './options.js';

interface Flags {
  type: PingPongType;
  ibDev?: string;
  ibPort: number;
  gidIdx?: number;
  port: number;
  size?: number;
  mtu?: string;
  rxDepth: number;
  iters: number;
  sl: number;
  numQp?: number;
  events?: true;
  chk?: true;
  timeout?: number;
  json?: true;
}

/** Of the C programs, and not here. */
const unsupported = [
  ['-o, --odp', 'on-demand paging'],
  ['-O, --iodp', 'implicit on-demand paging'],
  ['-P, --prefetch', 'prefetching of on-demand memory'],
  ['-t, --ts', 'completion timestamps'],
  ['-j, --dm', 'device memory'],
  ['-N, --new_send', 'the new post send API'],
  ['-U, --allow-cc-unprotected', 'unprotected memory on confidential guests'],
] as const;

const MAX_I32 = 2 ** 31 - 1;

export function pingpongCommand(setExitCode: (code: number) => void): Command {
  const command = new Command('pingpong')
    .description('exchange messages with ibv_rc_pingpong and its kin, or with another of these')
    .argument('[host]', 'the server to connect to; without it, be the server')
    .addOption(
      new Option('--type <type>', 'which of the programs to be')
        .choices(pingPongTypes as readonly string[])
        .default('rc'),
    )
    .option('-d, --ib-dev <dev>', 'the RDMA device; default the first one found')
    .option('-i, --ib-port <port>', 'its port', integer(1, 255), 1)
    .option(
      '-g, --gid-idx <index>',
      'entry of its GID table, -1 for LID only; default: chosen on Ethernet, LID only on InfiniBand',
      (text) => (text === '-1' ? -1 : integer(0, 255)(text)),
    )
    .option(
      '-p, --port <port>',
      'TCP port to listen on, 0 for any free one, or to connect to',
      integer(0, 65535),
      18515,
    )
    .option('-s, --size <bytes>', 'bytes of a message; default 4096, of ud 1024', integer(1, MAX_I32))
    .addOption(
      new Option('-m, --mtu <bytes>', 'path MTU, not of ud; default 1024').choices([
        '256',
        '512',
        '1024',
        '2048',
        '4096',
      ]),
    )
    .option('-r, --rx-depth <count>', 'receives to keep posted', integer(1, 32768), 500)
    .option('-n, --iters <count>', 'messages each way', integer(1, MAX_I32), 1000)
    .option('-l, --sl <sl>', 'service level', integer(0, 15), 0)
    .option('-q, --num-qp <count>', 'queue pairs, only of srq; default 16', integer(1, 255))
    .option('-e, --events', 'sleep until completions come, instead of polling')
    .option('-c, --chk', 'validate every message; give it to both sides')
    .option(
      '--timeout <seconds>',
      'longest silence of the peer; default 30, and no limit for a client to come',
      integer(1, 86400),
    )
    .option('--json', 'print one JSON document instead of the lines')
    .action(async (host: string | undefined, flags: Flags) => {
      const name = unsupported.find(
        ([option]) => (flags as unknown as Record<string, unknown>)[new Option(option).attributeName()],
      );
      if (name !== undefined) throw new UsageError(`${name[0]} (${name[1]}) is not supported`);
      setExitCode(await run(host, flags));
    });
  for (const [option, words] of unsupported) command.addOption(new Option(option, words).hideHelp());
  return command;
}

function run(host: string | undefined, flags: Flags): Promise<number> {
  const note = (text: string) => process.stderr.write(`onepiece: ${text}\n`);
  const print = (text: string) => {
    if (!flags.json) process.stdout.write(text);
  };
  return interruptible(async (signal) => {
    const options = {
      host,
      type: flags.type,
      device: flags.ibDev,
      ibPort: flags.ibPort,
      gidIndex: flags.gidIdx,
      port: flags.port,
      sizeBytes: flags.size,
      mtuBytes: flags.mtu === undefined ? undefined : Number(flags.mtu),
      receiveDepth: flags.rxDepth,
      iterations: flags.iters,
      serviceLevel: flags.sl,
      queuePairs: flags.numQp,
      events: flags.events,
      check: flags.chk,
      timeoutMs: flags.timeout === undefined ? undefined : flags.timeout * 1000,
    };
    const progress = {
      onRoute: note,
      onLocal: (all: readonly PingPongAddress[]) =>
        print(all.map((one) => addressLine('local', flags.type, one)).join('')),
      onRemote: (all: readonly PingPongAddress[]) =>
        print(all.map((one) => addressLine('remote', flags.type, one)).join('')),
      onListening: (port: number) => note(`waiting for a client on port ${port}`),
    };
    const result = await pingPong(options, progress, signal).catch((error) => {
      throw isRdmaError(error) && error.code === 'RDMA_ERR_INVALID_ARGUMENT' ? new UsageError(error.message) : error;
    });
    if (flags.json) process.stdout.write(`${JSON.stringify(pingPongReport(result), null, 2)}\n`);
    print(resultLines(result));
    if (result.invalidMessages) {
      throw new RdmaError(
        'RDMA_ERR_PROTOCOL',
        `${result.invalidMessages} of the messages that came were not as they should be`,
        { remedy: 'give --chk to both sides' },
      );
    }
  });
}
