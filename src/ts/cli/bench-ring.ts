// `onepiece bench ring-lat`, `ring-bw`, `ring-rate`, `ring-fan-in`, and `rings`, which is all of them.
//
// Invariant: every figure printed was measured in this run; nothing is remembered or estimated.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { report } from '../bench/kit/report.js';
import { type Occasion, reportPage } from '../bench/ring/report-page.js';
import type { RingPeer } from '../bench/ring/peer.js';
import { compareResults } from '../bench/ring/result.js';
import {
  checkRingSettings,
  MAX_DURATION_S,
  MAX_ITERATIONS,
  MAX_PRODUCERS,
  MAX_SIZE_BYTES,
  type RingSettings,
  type RingTest,
  ringDefaults,
  type Way,
} from '../bench/ring/settings.js';
import { benchRings } from '../bench/ring/run.js';
import { packageRoot } from '../addon/native.js';
import { ringText } from './bench-ring-table.js';
import { addCompare, comparedWith, type PeersOf } from './bench-compare.js';
import { runBench, usable } from './bench-run.js';
import { UsageError } from './exit.js';
import { integer, sizes } from './options.js';
import { OutputFile } from './output-file.js';

interface Flags {
  device: string;
  size?: number[];
  iterations?: number;
  duration?: number;
  inPlace?: true;
  pull?: true;
  producers?: number;
  compare?: string[];
  report?: string;
  json?: true;
}

const descriptions: Record<RingTest, string> = {
  'ring-lat':
    'latency of a message between the JavaScript of two processes, one way: until it is held, and until it is read',
  'ring-bw': 'bandwidth of messages from one producer: held, and read',
  'ring-rate': 'small messages a second from one producer',
  'ring-fan-in': 'messages a second from many producers into one inbox, and how fairly they get their turns',
};
const peersOf: PeersOf<RingPeer> = ({ rings }) => rings;
const FAN_IN_PRODUCERS = 64;
const SURVEY_SIZES = [64, 4096, 65_536, 2 ** 20, 2 ** 24];

export function ringCommand(test: RingTest, setExitCode: (code: number) => void): Command {
  const standard = ringDefaults(test);
  const command = common(new Command(test).description(descriptions[test]), standard.sizes.join())
    .option('--iterations <count>', 'samples or messages instead of a duration', integer(1, MAX_ITERATIONS))
    .option('--in-place', 'messages are built in the lane; without it they are copied into it');
  if (test === 'ring-lat') {
    command.option('--pull', 'messages stay with their producer, from where the consumer READs them');
  }
  if (test === 'ring-fan-in') {
    command.option(
      '--producers <count>',
      `processes that send, 1 to ${MAX_PRODUCERS} (default: ${standard.producers}); one alone is measured first`,
      integer(1, MAX_PRODUCERS),
    );
  }
  return command.action(async (flags: Flags) => setExitCode(await run([settingsOf(test, flags)], flags)));
}

/** Everything, both ways, in one document. */
export function ringsCommand(setExitCode: (code: number) => void): Command {
  const command = new Command('rings').description('all ring benchmarks, with messages copied and built in place');
  return common(command, `${SURVEY_SIZES.join()} for latency and bandwidth; 64 for the others`).action(
    async (flags: Flags) => {
      const both = (settings: RingSettings): RingSettings[] => [settings, { ...settings, way: 'in-place' }];
      const sized = { size: SURVEY_SIZES, ...flags };
      const small = { ...flags, size: [64] };
      const plan = [
        ...both(settingsOf('ring-lat', sized)),
        ...both(settingsOf('ring-bw', sized)),
        ...both(settingsOf('ring-rate', small)),
        ...both(settingsOf('ring-fan-in', { ...small, producers: FAN_IN_PRODUCERS })),
      ];
      setExitCode(await run(plan, flags));
    },
  );
}

function common(command: Command, defaultSizes: string): Command {
  return addCompare(command, peersOf)
    .option('-d, --device <name>', 'the RDMA device', 'soft0')
    .option(
      '--size <bytes>',
      `message sizes such as 64,4k,1m, at most 1g (default: ${defaultSizes})`,
      sizes(MAX_SIZE_BYTES),
    )
    .option('--duration <seconds>', 'how long each figure is measured (default: 1)', integer(1, MAX_DURATION_S))
    .option('--report <file.html>', 'also write a page with charts, which needs nothing but a browser')
    .option('--json', 'print one JSON document instead of the table');
}

function settingsOf(test: RingTest, flags: Flags): RingSettings {
  const standard = ringDefaults(test);
  return usable(() =>
    checkRingSettings({
      test,
      device: flags.device,
      sizes: flags.size ?? standard.sizes,
      iterations: flags.iterations ?? standard.iterations,
      durationS: flags.duration ?? standard.durationS,
      way: wayOf(flags),
      producers: flags.producers ?? standard.producers,
    }),
  );
}

function wayOf({ inPlace, pull }: Flags): Way {
  if (inPlace && pull) throw new UsageError('--in-place and --pull: give one of them');
  return pull ? 'pull' : inPlace ? 'in-place' : 'copy';
}

function occasion(): Occasion {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'));
  return { version, command: ['onepiece', ...process.argv.slice(2)].join(' '), takenAt: new Date() };
}

function run(plan: readonly RingSettings[], flags: Flags): Promise<number> {
  return runBench(flags, async (surroundings) => {
    const output = flags.report === undefined ? undefined : await OutputFile.create(flags.report);
    const peers = comparedWith(flags.compare, peersOf);
    const { results, peers: measured, failures } = await benchRings({ plan, peers, ...surroundings });
    const comparisons = compareResults(results);
    const document = { ...report(results), peers: measured, comparisons, failures };
    if (output !== undefined) await output.commit(Buffer.from(reportPage(document, occasion())));
    return { document, text: () => ringText(results, comparisons) };
  });
}
