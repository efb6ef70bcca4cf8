// `onepiece bench overload`: what a pipeline still does when more is offered than it can do.
//
// Invariant: every figure printed was measured in this run; nothing is remembered or estimated.
import { Command, InvalidArgumentError } from 'commander';
import type { OverloadPeer } from '../bench/overload/peer.js';
import { benchOverload } from '../bench/overload/run.js';
import {
  checkOverloadSettings,
  MAX_CONCURRENCY,
  MAX_DEADLINE_MS,
  MAX_FACTOR,
  MAX_INSTANCES,
  MAX_QUEUED,
  MAX_SECONDS,
  MAX_SEED,
  MAX_SERVICE_MS,
  MIN_DEADLINE_MS,
  type OverloadSettings,
  overloadDefaults,
  type OverloadTest,
  overloadTests,
  type WorkKind,
  workKinds,
} from '../bench/overload/settings.js';
import { overloadText } from './bench-overload-table.js';
import { addCompare, comparedWith, type PeersOf } from './bench-compare.js';
import { runBench, usable } from './bench-run.js';
import { UsageError } from './exit.js';
import { integer, listOf } from './options.js';

interface Flags {
  device: string;
  only: OverloadTest[];
  factor: number[];
  work: WorkKind[];
  serviceMs: number;
  instances: number;
  concurrency?: number;
  queued: number;
  deadlineMs: number;
  seconds: number;
  seed: number;
  compare?: string[];
  json?: true;
}

const defaults = overloadDefaults;
const peersOf: PeersOf<OverloadPeer> = ({ overload }) => overload;

export function overloadCommand(setExitCode: (code: number) => void): Command {
  const command = new Command('overload')
    .description(
      'more requests than a pipeline has capacity for: what is answered in time, refused, cancelled, and fair',
    )
    .option('-d, --device <name>', 'the RDMA device', defaults.device)
    .option('--only <tests>', `some of ${overloadTests.join(',')}`, listOf(overloadTests), [...defaults.tests])
    .option('--factor <factors>', 'how many times the capacity is offered', factors, [...defaults.factors])
    .option('--work <kind>', `what a stage does: ${workKinds.join(' or ')}`, listOf(workKinds), [defaults.work])
    .option('--service-ms <count>', 'how long, on average', integer(1, MAX_SERVICE_MS), defaults.serviceMs)
    .option(
      '--instances <count>',
      'instances of each of the three stages',
      integer(1, MAX_INSTANCES),
      defaults.instances,
    )
    .option(
      '--concurrency <count>',
      `tasks that an instance runs at a time (default: ${defaults.concurrency}, or 1 that computes)`,
      integer(1, MAX_CONCURRENCY),
    )
    .option('--queued <count>', 'requests that may wait, in a peer too', integer(1, MAX_QUEUED), defaults.queued)
    .option(
      '--deadline-ms <count>',
      'from the moment at which a request is due',
      integer(MIN_DEADLINE_MS, MAX_DEADLINE_MS),
      defaults.deadlineMs,
    )
    .option('--seconds <count>', 'how long each figure is measured', integer(1, MAX_SECONDS), defaults.seconds)
    .option('--seed <number>', 'decides when requests come', integer(0, MAX_SEED), defaults.seed)
    .option('--json', 'print one JSON document instead of the tables')
    .addHelpText('after', '\nWithout options it takes about three minutes. docs/bench.md says what is measured.')
    .action(async (flags: Flags) => setExitCode(await run(settingsOf(flags), flags)));
  return addCompare(command, peersOf);
}

function factors(text: string): number[] {
  return text.split(',').map((item) => {
    const value = /^\d{1,3}(\.\d{1,3})?$/.test(item.trim()) ? Number(item) : Number.NaN;
    if (!(value > 0 && value <= MAX_FACTOR)) {
      throw new InvalidArgumentError(`Give factors such as 1.3,3,10, each above 0 and at most ${MAX_FACTOR}.`);
    }
    return value;
  });
}

function settingsOf(flags: Flags): OverloadSettings {
  const { device, only, factor, work, serviceMs, instances, queued, deadlineMs, seconds, seed } = flags;
  if (work.length > 1) throw new UsageError(`--work: give one of ${workKinds.join(', ')}`);
  const kind = work[0]!;
  if (kind === 'compute' && flags.compare !== undefined) {
    throw new UsageError('--compare: a peer is one process, and can only sleep for several requests at a time');
  }
  const concurrency = flags.concurrency ?? (kind === 'compute' ? 1 : defaults.concurrency);
  return usable(() =>
    checkOverloadSettings({
      device,
      tests: only,
      factors: factor,
      work: kind,
      serviceMs,
      instances,
      concurrency,
      queued,
      deadlineMs,
      seconds,
      seed,
    } satisfies OverloadSettings),
  );
}

function run(settings: OverloadSettings, flags: Flags): Promise<number> {
  return runBench(flags, async (surroundings) => {
    const peers = comparedWith(flags.compare, peersOf);
    const document = await benchOverload({ settings, peers, ...surroundings });
    return { document, text: () => overloadText(document) };
  });
}
