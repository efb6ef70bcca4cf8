// The figures of the pipeline benchmark, ours and those of the peers.
//
// Invariant: a figure that was not measured is null; theirs stand in the same fields as ours.
import { type Machine, machine } from '../kit/machine.js';
import { percentile, type Percentiles, round3 } from '../kit/statistics.js';
import { inFlightOf, type Mode, type PipelinePlan } from './settings.js';
import { HOPS, type Shape } from './shape.js';
import type { Started } from './source-main.js';
import type { Measured } from './subject.js';

/** All processes of a subject together, at the end of its measurement. */
export interface MemoryMib {
  rss: number;
  /** A page that several of them map counts once. */
  pss: number;
}

/** Who was measured. */
export interface PipelineSubject {
  /** null for this project; otherwise the name of the peer. */
  peer: string | null;
  /** Our device, or a peer's medium. */
  device: string;
  /** What our stages do; null for peers, whose places copy each byte once. */
  mode: Mode | null;
  /** Results are views of received memory; null for peers. */
  views: boolean | null;
}

interface Measurement extends PipelineSubject {
  shape: Shape;
  sizeBytes: number;
  memoryMiB: MemoryMib;
}

/** Requests under load, or each after a rest, or with results in pieces. */
export interface LoadResult extends Measurement {
  test: 'pipeline' | 'pipeline-rest' | 'pipeline-stream';
  inFlight: number;
  /** Of `pipeline-stream`: in how many pieces the stages send a result; 1: whole. */
  pieces?: number;
  /** null under load. */
  restMs: number | null;
  /** Requests that were answered while it was measured. */
  requests: number;
  /** The whole request, at the source. */
  latencyUs: Percentiles;
  hops: number;
  /** The whole request divided by its hops. */
  hopUs: Percentiles;
  /** null after rests. */
  requestsPerSecond: number | null;
  /** Bytes of requests, each counted once, 10^9 of them a second; null after rests. */
  gbPerSecond: number | null;
  /** Processor time of all processes, rests and polling included. */
  cpuUsPerRequest: number;
}

/** A pipeline that has nothing to do. */
export interface IdleResult extends Measurement {
  test: 'pipeline-idle';
  idleSeconds: number;
  /** Of one core, all processes together. */
  cpuPercent: number;
}

/** The start of our pipeline: a process for each stage. */
export interface StartResult {
  test: 'pipeline-start';
  peer: null;
  device: string;
  stages: number;
  rounds: number;
  startMs: { min: number; p50: number; max: number };
  /** Right after the start, the process that started it included; of the last round. */
  memoryMiB: MemoryMib;
}

export type PipelineResult = LoadResult | IdleResult | StartResult;

/** Ours and a peer's of the same run. */
export interface PipelineComparison {
  test: LoadResult['test'];
  shape: Shape;
  sizeBytes: number;
  inFlight: number;
  mode: Mode | null;
  peer: string;
  /** Of `pipeline-stream`: ours and the peer's. */
  pieces?: number;
  peerPieces?: number;
  /** Each: how many times better ours is (theirs / ours; of a rate ours / theirs); below 1 it is worse. */
  latencyRatio: number | null;
  requestsPerSecondRatio: number | null;
  cpuRatio: number | null;
}

/** What --json prints. */
export interface PipelineDocument {
  schemaVersion: 1;
  machine: Machine;
  results: PipelineResult[];
  /** Name and version of each peer that was measured. */
  peers: Record<string, string>;
  comparisons: PipelineComparison[];
  /** Peers that failed while they were measured. */
  failures: PipelineFailure[];
}

export interface PipelineFailure {
  peer: string;
  test: string;
  shape: Shape;
  sizeBytes: number;
  inFlight: number;
  reason: string;
}

const KIB_PER_MIB = 1024;
const mib = (kib: number) => round3(kib / KIB_PER_MIB);
const memoryOf = ({ rssKib, pssKib }: Pick<Measured, 'rssKib' | 'pssKib'>): MemoryMib => ({
  rss: mib(rssKib),
  pss: mib(pssKib),
});

const TESTS = { load: 'pipeline', rest: 'pipeline-rest', stream: 'pipeline-stream' } as const;

/** What was measured, as a result. */
export function resultOf(subject: PipelineSubject, plan: PipelinePlan, measured: Measured): LoadResult | IdleResult {
  const { shape, sizeBytes, task } = plan;
  const { requests, seconds, cpuUs } = measured;
  const common = { ...subject, shape, sizeBytes, memoryMiB: memoryOf(measured) };
  if (task.do === 'idle') {
    const cpuPercent = round3(cpuUs / (seconds * 1e4));
    return { test: 'pipeline-idle', ...common, idleSeconds: task.seconds, cpuPercent };
  }
  const sorted = Float64Array.from(measured.samplesUs).sort();
  const at = (share: number, parts: number) => round3(percentile(sorted, share) / parts);
  const of = (parts: number) => ({ p50: at(0.5, parts), p99: at(0.99, parts), p999: at(0.999, parts) });
  const perSecond = task.do === 'rest' ? null : requests / seconds;
  return {
    test: TESTS[task.do],
    ...common,
    inFlight: inFlightOf(plan),
    ...(task.do === 'stream' ? { pieces: task.pieces } : {}),
    restMs: task.do === 'rest' ? task.restMs : null,
    requests,
    latencyUs: of(1),
    hops: HOPS,
    hopUs: of(HOPS),
    requestsPerSecond: perSecond === null ? null : round3(perSecond),
    gbPerSecond: perSecond === null ? null : round3((perSecond * sizeBytes) / 1e9),
    cpuUsPerRequest: round3(cpuUs / requests),
  };
}

/** Rounds of one start, as a result. */
export function startResult(device: string, stages: number, rounds: readonly Started[]): StartResult {
  const sorted = Float64Array.from(rounds.map(({ startMs }) => startMs)).sort();
  const at = (share: number) => round3(percentile(sorted, share));
  return {
    test: 'pipeline-start',
    peer: null,
    device,
    stages,
    rounds: rounds.length,
    startMs: { min: at(0), p50: at(0.5), max: at(1) },
    memoryMiB: memoryOf(rounds.at(-1)!),
  };
}

const ratio = (a: number | null, b: number | null) =>
  a === null || b === null || !(b > 0) ? null : Number((a / b).toPrecision(4));
const isLoad = (result: PipelineResult): result is LoadResult => 'latencyUs' in result;

/** Each of ours with each of theirs of the same test, shape, size and number in flight, in whatever pieces. */
export function comparePipelines(results: readonly PipelineResult[]): PipelineComparison[] {
  const loads = results.filter(isLoad);
  return loads
    .filter(({ peer }) => peer === null)
    .flatMap((ours) => {
      const { test, shape, sizeBytes, inFlight, mode } = ours;
      const same = (r: LoadResult) =>
        r.test === test && r.shape === shape && r.sizeBytes === sizeBytes && r.inFlight === inFlight;
      return loads
        .filter((theirs) => theirs.peer !== null && same(theirs))
        .map((theirs) => ({
          test,
          shape,
          sizeBytes,
          inFlight,
          mode,
          peer: theirs.peer!,
          ...(ours.pieces === undefined ? {} : { pieces: ours.pieces, peerPieces: theirs.pieces! }),
          latencyRatio: ratio(theirs.latencyUs.p50, ours.latencyUs.p50),
          requestsPerSecondRatio: ratio(ours.requestsPerSecond, theirs.requestsPerSecond),
          cpuRatio: ratio(theirs.cpuUsPerRequest, ours.cpuUsPerRequest),
        }));
    });
}

export function pipelineDocument(run: Pick<PipelineDocument, 'results' | 'peers' | 'failures'>): PipelineDocument {
  const { results, peers, failures } = run;
  return { schemaVersion: 1, machine: machine(), results, peers, comparisons: comparePipelines(results), failures };
}
