// What `onepiece bench cluster` measures, and how often.
import { checkInteger, invalidArgument } from '../../core/validate.js';

/** Stages of the workflow, in their order. */
export const STAGES = ['prepare', 'infer', 'finish'] as const;
/** Processes of each stage, here and at the peers, and how many requests each works on at a time. */
export const INSTANCES = 2;
export const CONCURRENCY = 8;
/** Environment variable with the file in which each stage notes what it runs. */
export const RUNS_FILE = 'ONEPIECE_BENCH_RUNS';

/** Parts of the benchmark. */
export const CLUSTER_PARTS = ['kill', 'stop', 'worker', 'leader', 'drain', 'away', 'update', 'step', 'speed'] as const;
export type ClusterPart = (typeof CLUSTER_PARTS)[number];

export interface ClusterBenchSettings {
  readonly only: readonly ClusterPart[];
  readonly nodes: number;
  readonly device: string;
  readonly leaseMs: number;
  /** How often a node, a worker or the leader is killed; figures are medians. */
  readonly rounds: number;
  /** How long nats-server is away. */
  readonly awayS: number;
  /** Requests at a time while something is done to the cluster. */
  readonly clients: number;
  /** How long each stage sleeps in those requests. */
  readonly stageMs: number;
  /** How long latency and throughput are measured. */
  readonly seconds: number;
  /** How long an instance of the stage that is scaled takes to load, beside the start of its process. */
  readonly loadMs: number;
  readonly compareBullMq: boolean;
}

/** Fills in defaults. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkClusterBench(input: Partial<ClusterBenchSettings>): ClusterBenchSettings {
  const only = input.only ?? CLUSTER_PARTS;
  const unknown = only.find((part) => !CLUSTER_PARTS.includes(part));
  if (unknown !== undefined) throw invalidArgument('only', unknown, `parts: ${CLUSTER_PARTS.join(', ')}`);
  return {
    only,
    nodes: checkInteger('nodes', input.nodes ?? 3, 2, 16),
    device: input.device ?? 'soft0',
    leaseMs: checkInteger('leaseMs', input.leaseMs ?? 3000, 500, 60_000),
    rounds: checkInteger('rounds', input.rounds ?? 3, 1, 100),
    awayS: checkInteger('awayS', input.awayS ?? 60, 1, 3600),
    clients: checkInteger('clients', input.clients ?? 8, 1, 256),
    stageMs: checkInteger('stageMs', input.stageMs ?? 10, 0, 10_000),
    seconds: checkInteger('seconds', input.seconds ?? 5, 1, 600),
    loadMs: checkInteger('loadMs', input.loadMs ?? 4000, 200, 60_000),
    compareBullMq: input.compareBullMq ?? true,
  };
}
