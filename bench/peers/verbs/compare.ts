// This project's benchmark and perftest's, in turn, on one device.
//
// Invariant: the two alternate, so that a machine that becomes slower or faster does not flatter either; each figure is
// the median over the rounds.
import { RdmaError } from '../../../src/ts/core/errors.js';
import { median, round3 } from '../../../src/ts/bench/kit/statistics.js';
import type { Client, Measurement } from '../../../src/ts/bench/verbs/client.js';
import { perftestArguments, perftestProgram, perftestVersion, runPerftest } from './perftest.js';
import type { PerftestRow } from './perftest-table.js';
import {
  gigabytes,
  NO_BANDWIDTH,
  NO_LATENCY,
  verbsResult,
  type VerbsResult,
} from '../../../src/ts/bench/verbs/result.js';
import type { Compared, VerbsPeer } from '../../../src/ts/bench/verbs/peer.js';
import { isLatency, type VerbsSettings } from '../../../src/ts/bench/verbs/settings.js';
import type { Place } from '../../../src/ts/bench/verbs/side.js';

/** Fails before anything is measured when there is nothing to compare with. */
function peerName(test: VerbsSettings['test'], device: string): string {
  return `perftest ${perftestVersion(test, device)} ${perftestProgram(test)}`;
}

async function compareSize(
  client: Client,
  place: Place,
  sizeBytes: number,
  rounds: number,
  peer: string,
  onRun: (words: string) => void,
  signal?: AbortSignal,
): Promise<Compared> {
  const { settings, side } = client;
  const program = perftestProgram(settings.test);
  const ours: Measurement[] = [];
  const theirs: PerftestRow[] = [];
  for (let round = 1; round <= rounds; round++) {
    onRun(`round ${round}/${rounds}, onepiece`);
    const started = performance.now();
    ours.push(await client.measure(sizeBytes));
    const tookS = (performance.now() - started) / 1000;
    onRun(`round ${round}/${rounds}, ${program}`);
    const cqMod = verbsResult(place.device, settings, ours[0]!, false).settings.cqMod;
    const args = perftestArguments(place, side.address.index, { ...settings, cqMod }, sizeBytes);
    theirs.push(await runPerftest(program, args, 3 * tookS, signal));
  }
  // By duration perftest gives an average only.
  const latency = settings.durationS > 0 ? 'avg' : 'p50';
  const ourFigure = (m: Measurement) => m.latency?.[latency] ?? m.bandwidth?.averageMbPerSecond ?? 0;
  const our = middle(ours, ourFigure);
  const their = middle(theirs, theirFigure);
  const [a, b] = [ourFigure(our), theirFigure(their)];
  if (!(a > 0 && b > 0)) throw new RdmaError('RDMA_ERR_PROTOCOL', `nothing to compare: ${a} here, ${b} there`);
  const result = verbsResult(place.device, settings, our, false);
  return {
    ours: result,
    theirs: theirResult(result, peer, their),
    comparison: {
      test: settings.test,
      sizeBytes,
      rounds,
      unit: isLatency(settings.test) ? 'us' : 'MB/s',
      ours: a,
      theirs: b,
      ratio: round3(a / b),
    },
  };
}

function theirFigure(row: PerftestRow): number {
  return row.kind === 'latency' ? (row.typical ?? row.avg ?? 0) : row.averageMbPerSecond;
}

function middle<T>(runs: readonly T[], figure: (run: T) => number): T {
  const wanted = median(runs.map(figure));
  return runs.find((run) => figure(run) === wanted)!;
}

function theirResult(ours: VerbsResult, peer: string, row: PerftestRow): VerbsResult {
  const base = { ...ours, peer, iterations: row.iterations, bytes: null, histogram: null };
  if (row.kind === 'latency') {
    const { min, max, typical, avg, stdev, p99, p999 } = row;
    return { ...base, latencyUs: { min, max, p50: typical, avg, stdev, p99, p999 }, bandwidth: NO_BANDWIDTH };
  }
  const { peakMbPerSecond, averageMbPerSecond, messagesPerSecond } = row;
  return {
    ...base,
    latencyUs: NO_LATENCY,
    bandwidth: { peakMbPerSecond, averageMbPerSecond },
    messagesPerSecond,
    gigabytesPerSecond: gigabytes(averageMbPerSecond),
  };
}

export const perftest: VerbsPeer = { name: peerName, compareSize };
