// `onepiece bench write-lat` and its like: perftest's programs, with perftest's options.
//
// Invariant: an option that means nothing for a test is not an option of its command.
import { Command, InvalidArgumentError, Option } from 'commander';
import { report } from '../bench/kit/report.js';
import { Client, type ServerAddress } from '../bench/verbs/client.js';
import { listenOnce } from '../bench/verbs/listen.js';
import type { Comparison } from '../bench/verbs/peer.js';
import { verbsResult, type VerbsResult } from '../bench/verbs/result.js';
import {
  checkSettings,
  defaults,
  has,
  isPingPong,
  MAX_ALL_BYTES,
  MAX_SIZE_BYTES,
  verbOf,
  type VerbsSettings,
  type VerbsTest,
} from '../bench/verbs/settings.js';
import type { Place } from '../bench/verbs/side.js';
import { isRdmaError } from '../core/errors.js';
import { peersFor } from './bench-compare.js';
import { comparisonText, resultsText } from './bench-table.js';
import { interruptible, UsageError } from './exit.js';
import { integer, sizes } from './options.js';
import { Progress } from './progress.js';
import { bytes } from './table.js';

interface Flags {
  device: string;
  ibPort: number;
  gidIndex?: number;
  perftestGidIndex?: number;
  size?: number[];
  all?: true;
  iters?: number;
  duration?: number;
  warmUp?: number;
  txDepth?: number;
  rxDepth?: number;
  qp?: number;
  events?: true;
  bidirectional?: true;
  inline_size?: number;
  mtu?: number;
  post_list?: number;
  cqMod?: number;
  atomicType?: 'FETCH_AND_ADD' | 'CMP_AND_SWAP';
  listen?: true;
  port: number;
  compare?: 'perftest';
  rounds?: number;
  histogram?: true;
  json?: true;
}

const PERFTEST_PORT = 18_515;
const DEFAULT_ROUNDS = 3;
/** Long enough to show a busy machine. With --compare or --histogram a count is measured instead, as perftest does. */
const DEFAULT_DURATION_S = 1;

const descriptions: Record<VerbsTest, string> = {
  'write-lat': 'latency of a WRITE: both sides write in turn, half a round trip (as ib_write_lat)',
  'write-bw': 'bandwidth of WRITEs (as ib_write_bw)',
  'read-lat': 'latency of a READ, the whole round trip (as ib_read_lat)',
  'read-bw': 'bandwidth of READs (as ib_read_bw)',
  'send-lat': 'latency of a SEND: both sides send in turn, half a round trip (as ib_send_lat)',
  'send-bw': 'bandwidth of SENDs (as ib_send_bw)',
  'atomic-lat': 'latency of FETCH_ADD or COMPARE_SWAP, the whole round trip (as ib_atomic_lat)',
};

export function verbsCommand(test: VerbsTest, setExitCode: (code: number) => void): Command {
  const standard = defaults(test);
  const command = new Command(test)
    .description(descriptions[test])
    .argument('[host]', 'a host where the same command waits with --listen; without it both sides run here')
    .addOption(new Option('-d, --device <name>', 'the RDMA device').default('soft0'))
    .option('-i, --ib-port <port>', 'port of the device', integer(1, 255), 1)
    .option(
      '-g, --gid-index <index>',
      'entry of the GID table; default: chosen as `onepiece devices` says',
      integer(0, 255),
    )
    .addOption(new Option('-x, --perftest-gid-index <index>', 'the same').argParser(integer(0, 255)).hideHelp())
    .option(
      '-n, --iters <count>',
      `measure so many samples or messages instead, at least 5 (with --compare or --histogram: ${standard.iterations})`,
      integer(5, 1e7),
    )
    .option('-D, --duration <seconds>', `measure for so long (default: ${DEFAULT_DURATION_S})`, integer(1, 3600))
    .option('-m, --mtu <bytes>', "path MTU: 256, 512, 1024, 2048 or 4096 (default: the port's)", mtu)
    .option(
      '--warm-up <count>',
      'rounds before the measurement (default: 20000, or as many as two seconds hold)',
      integer(0, 1e7),
    );
  if (has(test, 'sizes')) {
    command
      .option(
        '-s, --size <bytes>',
        `message sizes, such as 64,4k,1m (default: ${standard.sizes})`,
        sizes(MAX_SIZE_BYTES),
      )
      .option('-a, --all', `sizes from 2 to ${MAX_ALL_BYTES} bytes`);
  }
  if (has(test, 'inlineBytes')) {
    command.option(
      '-I, --inline_size <bytes>',
      'copy messages up to this size at posting (default: 0)',
      integer(0, 4096),
    );
  }
  if (has(test, 'events')) command.option('-e, --events', 'sleep on the completion channel instead of polling');
  if (has(test, 'rxDepth'))
    command.option('-r, --rx-depth <count>', 'receives kept posted (default: 512)', integer(1, 16_384));
  if (has(test, 'txDepth')) {
    command
      .option('-t, --tx-depth <count>', 'requests outstanding for each queue pair (default: 128)', integer(1, 16_384))
      .option('-q, --qp <count>', 'queue pairs (default: 1)', integer(1, 256))
      .option('-b, --bidirectional', 'both sides send; the sum is shown')
      .option('-l, --post_list <count>', 'requests handed down with one doorbell (default: 1)', integer(1, 64))
      .option(
        '-Q, --cq-mod <count>',
        'a completion for every so many (default: 100, above 8 KiB 1)',
        integer(1, 16_384),
      );
  }
  if (has(test, 'atomic')) {
    command.addOption(
      new Option('-A, --atomic-type <type>', 'the operation (default: FETCH_AND_ADD)').choices([
        'FETCH_AND_ADD',
        'CMP_AND_SWAP',
      ]),
    );
  }
  if (test.endsWith('-lat')) command.option('-H, --histogram', 'print every sample too, sorted');
  return command
    .option('--listen', 'be the server: wait for one client on --port')
    .option(
      '-p, --port <port>',
      'TCP port between the two sides, with --listen or HOST',
      integer(1, 65_535),
      PERFTEST_PORT,
    )
    .addOption(
      new Option(
        '--compare <program>',
        'run perftest in turn with this, and show the ratio; only in a checkout',
      ).choices(['perftest']),
    )
    .option('--rounds <count>', 'runs of each with --compare (default: 3)', integer(1, 100))
    .option('--json', 'print one JSON document instead of the table')
    .action(async (host: string | undefined, flags: Flags) => setExitCode(await run(test, host, flags)));
}

function mtu(text: string): number {
  const value = integer(256, 4096)(text);
  if (!Number.isInteger(Math.log2(value))) throw new InvalidArgumentError('Give 256, 512, 1024, 2048 or 4096.');
  return value;
}

function settingsOf(test: VerbsTest, flags: Flags): VerbsSettings {
  const standard = defaults(test);
  if (flags.all && flags.size !== undefined) throw new UsageError('give --size or --all, not both');
  if (flags.iters !== undefined && flags.duration !== undefined)
    throw new UsageError('give --iters or --duration, not both');
  const isCounted = flags.iters !== undefined || flags.compare !== undefined || flags.histogram === true;
  const all = Array.from({ length: Math.log2(MAX_ALL_BYTES) }, (_, i) => 2 ** (i + 1));
  try {
    return checkSettings({
      ...standard,
      sizes: flags.all ? all : (flags.size ?? standard.sizes),
      iterations: flags.iters ?? standard.iterations,
      durationS: flags.duration ?? (isCounted ? 0 : DEFAULT_DURATION_S),
      warmUp: flags.warmUp ?? -1,
      txDepth: flags.txDepth ?? standard.txDepth,
      rxDepth: flags.rxDepth ?? standard.rxDepth,
      qps: flags.qp ?? 1,
      events: flags.events ?? false,
      bidirectional: flags.bidirectional ?? false,
      inlineBytes: flags.inline_size ?? 0,
      mtuBytes: flags.mtu ?? 0,
      postList: flags.post_list ?? 1,
      cqMod: flags.cqMod ?? 0,
      atomic: flags.atomicType === 'CMP_AND_SWAP' ? 'compare-swap' : 'fetch-add',
    } satisfies VerbsSettings);
  } catch (error) {
    if (isRdmaError(error)) throw new UsageError(error.message);
    throw error;
  }
}

async function run(test: VerbsTest, host: string | undefined, flags: Flags): Promise<number> {
  const settings = settingsOf(test, flags);
  const { device, ibPort, gidIndex, perftestGidIndex, port } = flags;
  const place: Place = { device, ibPort, gidIndex: gidIndex ?? perftestGidIndex };
  if (flags.rounds !== undefined && flags.compare === undefined) throw new UsageError('--rounds belongs to --compare');
  if (flags.histogram && flags.compare !== undefined) throw new UsageError('--histogram does not go with --compare');
  if (host !== undefined && flags.compare !== undefined)
    throw new UsageError('--compare runs both sides here: no HOST');
  if (!flags.listen) return await interruptible((signal) => measure(place, settings, host, flags, signal));
  if (host !== undefined || flags.compare !== undefined)
    throw new UsageError('--listen waits for a client: no HOST, no --compare');
  return await interruptible(async (signal) => {
    const say = (p: number) => process.stderr.write(`onepiece: waiting for a client on port ${p}\n`);
    await listenOnce(place, port, say, signal);
  });
}

async function measure(
  place: Place,
  settings: VerbsSettings,
  host: string | undefined,
  flags: Flags,
  signal: AbortSignal,
): Promise<void> {
  const { compare } = flags;
  const perftest = compare === undefined ? undefined : peersFor(`--compare ${compare}`, false).perftest;
  const peer = perftest?.name(settings.test, place.device) ?? '';
  const at: ServerAddress | undefined = host === undefined ? undefined : { host, port: flags.port };
  const progress = new Progress();
  const results: VerbsResult[] = [];
  const comparisons: Comparison[] = [];
  const warnings: string[] = [];
  try {
    progress.update(`${settings.test}: opening ${place.device}`);
    // Programs of others are started from here, and would be bound with us.
    const client = await Client.open(place, settings, at, signal, perftest === undefined);
    try {
      for (const sizeBytes of settings.sizes) {
        const words = `${settings.test} ${bytes(sizeBytes)}`;
        progress.update(words);
        if (perftest === undefined) {
          results.push(verbsResult(place.device, settings, await client.measure(sizeBytes), flags.histogram === true));
          continue;
        }
        const onRun = (what: string) => progress.update(`${words}: ${what}`);
        const rounds = flags.rounds ?? DEFAULT_ROUNDS;
        const compared = await perftest.compareSize(client, place, sizeBytes, rounds, peer, onRun, signal);
        results.push(compared.ours, compared.theirs);
        comparisons.push(compared.comparison);
      }
      warnings.push(...client.warnings);
    } finally {
      await client.close();
    }
  } finally {
    progress.clear();
  }
  for (const warning of warnings) process.stderr.write(`onepiece: ${warning}\n`);
  if (flags.json) {
    const document = { ...report(results), warnings, ...(flags.compare === undefined ? {} : { comparisons }) };
    process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
  } else if (flags.compare === undefined) {
    process.stdout.write(resultsText(results, headline(place, settings)));
  } else {
    process.stdout.write(comparisonText(results, comparisons, headline(place, settings)));
  }
}

function headline({ device }: Place, settings: VerbsSettings): string {
  const { test, events } = settings;
  const what = test.endsWith('-bw')
    ? `${settings.bidirectional ? 'both directions, ' : ''}depth ${settings.txDepth}, ${settings.qps} queue pair${settings.qps > 1 ? 's' : ''}`
    : isPingPong(test)
      ? 'half a round trip'
      : verbOf(test) === 'atomic'
        ? `round trip of ${settings.atomic}`
        : 'round trip';
  const time = settings.durationS > 0 ? `, ${settings.durationS} s each` : '';
  return `${test} on ${device}: ${what}, ${events ? 'events' : 'polling'}${time}`;
}
