// What all processes of a pipeline have counted together, since it is observed.
//
// Invariant: totals only grow. A process that ends takes its count with it; the last one that was seen stays in the
// total. So a total lacks what an ended process counted after it was looked at the last time.
import type { LocalPipelineStatus } from '../cluster/index.js';
import { GATEWAY, type LatencyStatus, REQUEST, RESULT } from '../pipeline/index.js';
import { addLatencies, NO_LATENCY } from './percentiles.js';
import { placesOf, stageOf } from './sample.js';

/** Of one stage. */
export interface StageTotals {
  readonly tasks: number;
  readonly failures: number;
  readonly queue: LatencyStatus;
  readonly compute: LatencyStatus;
}

/** Of all lanes from one stage (or `request`) to another (or `result`). */
export interface EdgeTotals {
  readonly from: string;
  readonly to: string;
  readonly messages: number;
  readonly bytes: number;
  readonly resent: number;
  /** Counted where messages arrive. */
  readonly hop: LatencyStatus;
}

const NO_STAGE: StageTotals = { tasks: 0, failures: 0, queue: NO_LATENCY, compute: NO_LATENCY };

/** What one process has counted. */
interface Counted {
  readonly incarnation: number;
  readonly stage: string | undefined;
  readonly stageTotals: StageTotals;
  readonly edges: readonly EdgeTotals[];
}

export class Totals {
  private readonly stages = new Map<string, StageTotals>(); // of processes that are gone
  private readonly edges = new Map<string, EdgeTotals>();
  private present = new Map<string, Counted>(); // by place

  /** Takes in what status() said. */
  add(status: LocalPipelineStatus): void {
    const seen = countedBy(status);
    for (const [place, counted] of this.present) {
      const now = seen.get(place);
      if (now?.incarnation === counted.incarnation) continue;
      // One that does not answer may do so the next time.
      if (now === undefined && isThere(status, place)) seen.set(place, counted);
      else this.bury(counted);
    }
    this.present = seen;
  }

  private bury({ stage, stageTotals, edges }: Counted): void {
    if (stage !== undefined) this.stages.set(stage, addStages(this.stages.get(stage) ?? NO_STAGE, stageTotals));
    for (const edge of edges) addEdge(this.edges, edge);
  }

  /** By stage. */
  stageTotals(): Map<string, StageTotals> {
    const sums = new Map(this.stages);
    for (const { stage, stageTotals } of this.present.values()) {
      if (stage !== undefined) sums.set(stage, addStages(sums.get(stage) ?? NO_STAGE, stageTotals));
    }
    return sums;
  }

  edgeTotals(): EdgeTotals[] {
    const sums = new Map(this.edges);
    for (const { edges } of this.present.values()) for (const edge of edges) addEdge(sums, edge);
    return [...sums.values()];
  }
}

function isThere({ supervision }: LocalPipelineStatus, place: string): boolean {
  const state = supervision[place]?.state;
  return state === 'ready' || state === 'stopped';
}

function countedBy(status: LocalPipelineStatus): Map<string, Counted> {
  const seen = new Map<string, Counted>();
  for (const place of placesOf(status)) {
    const { name, incarnation, links, hops } = place;
    const own = stageOf(name);
    const isGateway = own === GATEWAY;
    const edges: EdgeTotals[] = [];
    for (const { target, outbox } of links) {
      const { messages, bytes, resent } = outbox.counters;
      const to = stageOf(target);
      const ends = { from: isGateway ? REQUEST : own, to: to === GATEWAY ? RESULT : to };
      edges.push({ ...ends, messages, bytes, resent, hop: NO_LATENCY });
    }
    for (const [from, hop] of Object.entries(hops)) {
      edges.push({ from, to: isGateway ? RESULT : own, messages: 0, bytes: 0, resent: 0, hop });
    }
    const stage = status.stages[name];
    const stageTotals =
      stage === undefined
        ? NO_STAGE
        : { tasks: stage.tasks, failures: stage.failures, queue: stage.queueTimes, compute: stage.computeTimes };
    seen.set(name, { incarnation, stage: isGateway ? undefined : own, stageTotals, edges });
  }
  return seen;
}

function addStages(a: StageTotals, b: StageTotals): StageTotals {
  return {
    tasks: a.tasks + b.tasks,
    failures: a.failures + b.failures,
    queue: addLatencies([a.queue, b.queue]),
    compute: addLatencies([a.compute, b.compute]),
  };
}

function addEdge(sums: Map<string, EdgeTotals>, edge: EdgeTotals): void {
  const key = `${edge.from}\n${edge.to}`;
  const known = sums.get(key);
  if (known === undefined) sums.set(key, edge);
  else {
    sums.set(key, {
      from: edge.from,
      to: edge.to,
      messages: known.messages + edge.messages,
      bytes: known.bytes + edge.bytes,
      resent: known.resent + edge.resent,
      hop: addLatencies([known.hop, edge.hop]),
    });
  }
}
