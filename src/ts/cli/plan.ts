// `onepiece plan` and `onepiece simulate`: how many GPUs a workload needs, by simulation.
//
// Invariant: results on stdout, everything else on stderr. The same options give the same figures on every machine.
import { Command, InvalidArgumentError, Option } from 'commander';
import { costsOf } from '../planner/profiles/costs.js';
import type { Profile } from '../planner/profiles/profile.js';
import type { Trace } from '../planner/traces/trace.js';
import { Comparison } from '../planner/fleet/compare.js';
import { type Compared, FLEETS, type FleetName } from '../planner/fleet/compared.js';
import { ratiosOf } from '../planner/fleet/ratios.js';
import { CLUSTER_DELAYS, type ClusterDelays, type FaultRates, NO_FAULTS } from '../planner/fleet/fleet.js';
import type { PlanResult } from '../planner/fleet/plan.js';
import { assumedOf } from '../planner/fleet/plan-caveats.js';
import { makePlan } from '../planner/fleet/planning.js';
import { ExitCode, UsageError } from './exit.js';
import { integer, listOf } from './options.js';
import { OutputFile } from './output-file.js';
import { comparisonText, planText } from './plan-text.js';
import {
  GENERATORS,
  gpuOf,
  modelNames,
  profilesByModel,
  readProfile,
  shippedProfiles,
  sloFactor,
  sloOf,
  type TraceFlags,
  traceSource,
  wholeTrace,
} from './plan-inputs.js';
import { planPage } from './plan-page.js';
import { delaysText, gatewayText } from './plan-words.js';
import { Progress } from './progress.js';

interface Flags extends TraceFlags {
  profile: string[];
  slo: string;
  gpu: string[];
  variants: 'base' | 'adapter';
  seed: number;
  bandwidth: number;
  queued: number;
  nodeDeaths: number;
  slowNodes: number;
  slowFactor: number;
  storeOutages: number;
  storeOutageSeconds: number;
  /** false: `--no-delays`. */
  delays: boolean;
  processSeconds?: number;
  reportSeconds?: number;
  tickSeconds?: number;
  /** false: `--no-gateway`. */
  gateway: boolean;
  json?: true;
}

interface PlanFlags extends Flags {
  seeds: number;
  fleets?: FleetName[];
  html?: string;
}

interface SimulateFlags extends Flags {
  fleet: FleetName[];
  tune?: true;
  /** false: `--no-affinity`. */
  affinity: boolean;
}

const number = (min: number, max: number) => (text: string) => {
  const value = /^\d{1,9}(\.\d{1,9})?$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) throw new InvalidArgumentError(`Give a number from ${min} to ${max}.`);
  return value;
};

const gathered = (text: string, before: string[] | undefined) => [...(before ?? []), text];

function shared(command: Command): Command {
  return command
    .requiredOption('--trace <file>', `requests as CSV (docs/planner.md), or made: ${GENERATORS.join(', ')}`)
    .requiredOption('--profile <name>', 'what a model costs, by name or as a file; several: by model', gathered)
    .option(
      '--slo <text>',
      'what is promised: p95=2x (times the bare time) or p95=600s; rejected=1% beside it',
      'p95=3x',
    )
    .option('--gpu <kind>', 'KIND, KIND:GB or KIND:GB:PRICE an hour; several are compared', gathered)
    .addOption(
      new Option('--variants <kind>', 'models of one profile are other weights (base) or LoRAs (adapter)')
        .choices(['base', 'adapter'])
        .default('base'),
    )
    .option('--days <count>', 'of a made trace, default 1', integer(1, 365))
    .option(
      '--rate <count>',
      'of a made trace: requests a second; gentd26-like: times 2300 a day',
      number(0.0001, 100_000),
    )
    .option('--models <count>', 'of a made trace', integer(1, 48))
    .option('--seed <number>', 'of a made trace and of faults', integer(0, 2 ** 31 - 1), 1)
    .option('--bandwidth <count>', 'between stages, in GB a second', number(0.001, 10_000), 1)
    .option('--queued <count>', 'requests that may wait in a queue', integer(1, 65_536), 65_536)
    .option('--node-deaths <count>', 'of each node of 8 GPUs, an hour', number(0, 60), 0)
    .option('--slow-nodes <part>', 'nodes that are slow, 0 to 1', number(0, 1), 0)
    .option('--slow-factor <count>', 'how many times as long a slow node takes', number(1, 100), 2)
    .option('--store-outages <count>', 'of the control store, an hour', number(0, 60), 0)
    .option('--store-outage-seconds <count>', 'how long each is', number(1, 86_400), 60)
    .option(
      '--process-seconds <count>',
      `what a new process takes before it loads, default ${CLUSTER_DELAYS.processS}`,
      number(0, 3600),
    )
    .option(
      '--report-seconds <count>',
      `how old what the controller knows is, default ${CLUSTER_DELAYS.reportS}`,
      number(0, 3600),
    )
    .option(
      '--tick-seconds <count>',
      `between two decisions of the controller, default ${CLUSTER_DELAYS.tickS}`,
      number(0.1, 3600),
    )
    .option('--no-delays', 'decisions take effect at once, and no change of plan waits for requests')
    .option('--no-gateway', 'a queue for each stage, also where the shipped gateway holds requests back')
    .option('--json', 'print one JSON document instead of the tables');
}

/** `onepiece plan`. */
export function planCommand(setExitCode: (code: number) => void): Command {
  return shared(new Command('plan'))
    .description('how many GPUs a workload needs, of what and when, by simulation with the shipped policies')
    .option('--seeds <count>', 'of a made trace: the first is searched on, the others are measured', integer(1, 20), 3)
    .option('--fleets <names>', `some of ${FLEETS.join(',')}`, listOf(FLEETS))
    .option('--html <file>', 'write one page with charts that needs nothing else')
    .addHelpText(
      'after',
      () =>
        `\nProfiles: ${shippedProfiles().join(', ')}.\n` +
        `Example: onepiece plan --trace gentd26-like --profile wan21-i2v-14b-480p-40 --slo p95=2x`,
    )
    .action(async (flags: PlanFlags) => setExitCode(await plan(flags)));
}

/** `onepiece simulate`. */
export function simulateCommand(setExitCode: (code: number) => void): Command {
  return shared(new Command('simulate'))
    .description('simulate fleets under a trace, with the shipped queue, forecast and scaling')
    .option('--fleet <names>', `some of ${FLEETS.join(',')}`, listOf(FLEETS), ['staged-elastic' as FleetName])
    .option('--tune', 'search for settings; default: as shipped')
    .option('--no-affinity', "no precedence for an instance that holds a request's model, as at the shipped gateway")
    .action((flags: SimulateFlags) => setExitCode(simulateFleets(flags)));
}

function faultsOf(flags: Flags): FaultRates {
  return {
    ...NO_FAULTS,
    nodeDeathsPerHour: flags.nodeDeaths,
    slowNodes: flags.slowNodes,
    slowFactor: flags.slowFactor,
    storeOutagesPerHour: flags.storeOutages,
    storeOutageS: flags.storeOutageSeconds,
  };
}

/** @throws UsageError where a delay is given and none are wanted */
function delaysOf(flags: Flags): ClusterDelays | null {
  const { processSeconds, reportSeconds, tickSeconds } = flags;
  const given = Object.entries({ processSeconds, reportSeconds, tickSeconds }).filter(([, s]) => s !== undefined);
  if (!flags.delays) {
    if (given.length === 0) return null;
    throw new UsageError('--no-delays leaves no delay to set: leave out --process-, --report- and --tick-seconds');
  }
  return {
    processS: processSeconds ?? CLUSTER_DELAYS.processS,
    reportS: reportSeconds ?? CLUSTER_DELAYS.reportS,
    tickS: tickSeconds ?? CLUSTER_DELAYS.tickS,
  };
}

function inputsOf(flags: Flags) {
  const slo = sloOf(flags.slo);
  const profiles = [...new Set(flags.profile)].map(readProfile);
  const ids = profiles.map(({ id }) => id);
  const twice = ids.find((id, i) => ids.indexOf(id) < i);
  if (twice !== undefined) throw new UsageError(`--profile: two of them have the id ${twice}`);
  const kinds = [...new Set(flags.gpu ?? Object.keys(profiles[0]!.gpus).slice(0, 1))];
  const gpus = kinds.map((text) => gpuOf(text, profiles));
  const source = traceSource(flags, modelNames(profiles));
  const made = source.of(flags.seed);
  const costs = gpus.map((gpu) => profilesByModel(made, profiles).map((profile) => costsOf(profile, gpu)));
  const first = wholeTrace(source, made, costs);
  return { slo, profiles, gpus, source, first, factors: costs.map((each) => sloFactor(slo, first, each)), costs };
}

async function plan(flags: PlanFlags): Promise<number> {
  if (flags.fleets?.every((name) => name === 'bound')) {
    throw new UsageError('--fleets bound: name another fleet too; the bound is no fleet that can be had');
  }
  const output = flags.html === undefined ? undefined : await OutputFile.create(flags.html);
  const { slo, profiles, gpus, source, first, factors } = inputsOf(flags);
  const delays = delaysOf(flags);
  const progress = new Progress();
  const plans: PlanResult[] = [];
  try {
    gpus.forEach((gpu, i) => {
      plans.push(
        makePlan({
          traceOf: (seed) => (seed === flags.seed ? first : source.of(seed)),
          isSample: source.isFile,
          profilesOf: (trace: Trace): Profile[] => profilesByModel(trace, profiles),
          gpu,
          variants: flags.variants,
          sloFactor: factors[i]!,
          quantile: slo.quantile,
          maxRejected: slo.rejected,
          seeds: Array.from({ length: flags.seeds }, (_, n) => flags.seed + n),
          fleets: flags.fleets,
          bytesPerSecond: flags.bandwidth * 1e9,
          maxQueued: flags.queued,
          faults: faultsOf(flags),
          delays,
          hasGateway: flags.gateway,
          onStep: (words) => progress.update(words),
        }),
      );
    });
  } finally {
    progress.clear();
  }
  const best = bestOf(plans);
  const others = plans.filter((each) => each !== best);
  if (output !== undefined) await output.commit(Buffer.from(planPage(best, others)));
  const more = others.map(({ gpu, chosen }) => ({ gpu, chosen: { ...chosen, pools: undefined } }));
  process.stdout.write(
    flags.json ? `${JSON.stringify({ ...best, otherGpus: more }, null, 2)}\n` : planText(best, others),
  );
  return best.chosen.sloMet ? ExitCode.OK : ExitCode.FAILURE;
}

/** The plan that costs least, where prices are known, otherwise the one with the fewest GPUs. */
function bestOf(plans: readonly PlanResult[]): PlanResult {
  const isPriced = plans.every(({ chosen }) => chosen.costADay !== undefined);
  const cost = ({ chosen }: PlanResult) => (isPriced ? chosen.costADay! : chosen.gpusMean);
  return plans.reduce((a, b) => {
    if (a.chosen.sloMet !== b.chosen.sloMet) return a.chosen.sloMet ? a : b;
    return cost(b) < cost(a) ? b : a;
  });
}

function simulateFleets(flags: SimulateFlags): number {
  const { slo, profiles, gpus, first, factors, costs } = inputsOf(flags);
  if (gpus.length > 1) throw new UsageError('--gpu: simulate takes one kind');
  const delays = delaysOf(flags);
  const progress = new Progress();
  let comparison: Compared[];
  try {
    comparison = new Comparison(
      {
        trace: first,
        costs: costs[0]!,
        variants: flags.variants,
        sloFactor: factors[0]!,
        quantile: slo.quantile,
        maxRejected: slo.rejected,
        bytesPerSecond: flags.bandwidth * 1e9,
        maxQueued: flags.queued,
        delays,
        affinity: flags.affinity,
        hasGateway: flags.gateway,
      },
      {
        fleets: flags.fleet,
        seed: flags.seed,
        faults: faultsOf(flags),
        isTuned: flags.tune === true,
        onProgress: (fleet) => progress.update(`simulating ${fleet}`),
      },
    ).run();
  } finally {
    progress.clear();
  }
  const ratios = ratiosOf(comparison);
  const assumed = assumedOf(profiles);
  const requests = first.arrivalS.length;
  const { name, notes } = first;
  const { seed, affinity } = flags;
  const document = { seed, trace: name, requests, notes, delays, affinity, comparison, ratios, assumed };
  const text = () => {
    const lines = [
      delaysText(delays),
      ...(affinity ? [] : ["Affinity: none; an instance that holds a request's model has no precedence"]),
      ...gatewayText(comparison),
      ...notes.map((words) => `Note: ${words}`),
      ...assumed.map((words) => `Assumed: ${words}`),
    ];
    return comparisonText(comparison, ratios) + lines.map((line) => `${line}\n`).join('');
  };
  process.stdout.write(flags.json ? `${JSON.stringify(document, null, 2)}\n` : text());
  return ExitCode.OK;
}
