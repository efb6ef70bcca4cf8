// Which stages want the GPUs of which nodes, for the division among them.
//
// Invariant: pure. Stages are together that may use a node together, so what is divided in one demand makes no
// difference to another. Where no stage is scaled by its load there is nothing to divide.
import { capacityOf } from '../pipeline/index.js';
import { NO_RESOURCES, type StageResources } from '../pipeline/resources.js';
import type { StageSpec } from '../pipeline/spec.js';
import {
  allowedOf,
  type GpuDemand,
  type GpuStage,
  type GpuState,
  presentRate,
  type SloLoad,
} from '../planner/index.js';
import { hasLabels } from '../planner/unplaced.js';
import type { App } from './cluster-records.js';
import type { KnownApp, LiveNode } from './reconcile.js';
import { policyOf, scaledStages, type StageMemory } from './scale-feed.js';

/** What is known of a stage that is scaled by its load. */
export interface ScaledStage {
  /** undefined: nothing yet. */
  readonly memory: StageMemory | undefined;
  /** Tasks that wait. */
  readonly queued: number;
}

/** All that GPUs are divided by. */
export interface GpuWorld {
  readonly apps: readonly KnownApp[];
  readonly nodes: readonly LiveNode[];
  readonly scaledOf: (app: App, stage: string) => ScaledStage;
}

/** Names a stage of an app among all. */
export const stageKey = (app: string, stage: string): string => `${app}/${stage}`;

interface Wish {
  readonly known: KnownApp;
  readonly spec: StageSpec;
  readonly key: string;
  readonly resources: StageResources;
  /** Numbers of the nodes that may hold an instance. */
  readonly nodes: readonly number[];
}

/**
 * What is wanted of the GPUs, stages together that share some.
 *
 * @param state what each stage was given before
 * @param horizonMs in which tasks that wait shall be done
 */
export function demandsOf(world: GpuWorld, state: GpuState, horizonMs: number): GpuDemand[] {
  const { apps, nodes } = world;
  if (!apps.some(({ app }) => scaledStages(app).some(({ resources }) => (resources?.gpus ?? 0) > 0))) return [];
  const wishes = apps.flatMap((known) => {
    return known.app.spec.stages.flatMap((spec): Wish[] => {
      const { resources = NO_RESOURCES } = spec;
      if (resources.gpus === 0) return [];
      const able = nodes.flatMap((node, i) => (isAble(node, resources) ? [i] : []));
      return able.length === 0
        ? []
        : [{ known, spec, key: stageKey(known.app.name, spec.name), resources, nodes: able }];
    });
  });
  return together(wishes, nodes.length).flatMap((members) => {
    const stages = members.map((wish) => stageOf(wish, world, state, horizonMs));
    if (stages.every(({ load }) => load === null)) return [];
    const numbers = new Set(members.flatMap((wish) => wish.nodes));
    const gpus = [...numbers].reduce((sum, node) => sum + nodes[node]!.gpus!.length, 0);
    return [{ gpus, stages, blocked: [] }];
  });
}

function isAble({ draining, gpus = [], labels = {}, ...node }: LiveNode, resources: StageResources): boolean {
  if (draining === true || gpus.length < resources.gpus) return false;
  const isLarge = gpus.some(({ memoryBytes }) => memoryBytes >= resources.gpuMemoryBytes);
  return isLarge && hasLabels({ ...node, labels } as never, resources.labels);
}

// Stages that a chain of common nodes connects.
function together(wishes: readonly Wish[], nodes: number): Wish[][] {
  const parents = Array.from({ length: nodes }, (_, i) => i);
  const rootOf = (node: number): number => {
    let root = node;
    while (parents[root] !== root) root = parents[root]!;
    parents[node] = root;
    return root;
  };
  for (const wish of wishes) for (const node of wish.nodes) parents[rootOf(node)] = rootOf(wish.nodes[0]!);
  const groups = new Map<number, Wish[]>();
  for (const wish of wishes) {
    const root = rootOf(wish.nodes[0]!);
    groups.set(root, [...(groups.get(root) ?? []), wish]);
  }
  return [...groups.values()];
}

function stageOf(
  { known, spec, key, resources, nodes: own }: Wish,
  world: GpuWorld,
  state: GpuState,
  horizonMs: number,
) {
  const { app, record } = known;
  const { name, scale } = spec;
  const index = app.spec.stages.indexOf(spec);
  const wanted = app.wanted[name]!;
  const isScaled = scaledStages(app).includes(spec);
  const { memory, queued } = world.scaledOf(app, name);
  const runs = new Map(world.nodes.map((node) => [node.name, node.run]));
  const has = (record?.plan?.instances[index] ?? []).filter((instance) => {
    const assignment = record!.assignments[`${name}/${instance}`];
    return assignment !== undefined && runs.get(assignment.node) === assignment.run;
  });
  const allowed = allowedOf(wanted, scale?.min ?? 0, state.stages[key]?.granted);
  const refused = record?.refused?.counts[name];
  const stage: GpuStage = {
    stage: key,
    has: has.length,
    wanted,
    min: scale?.min ?? 0,
    gpus: amountOf(
      resources,
      own.map((node) => world.nodes[node]!),
    ),
    weight: 1,
    loadMs: Math.max(scale?.loadMs ?? 0, memory?.loadMs ?? 0),
    load: isScaled ? loadOf(spec, memory, queued, horizonMs) : null,
    refused: isScaled && refused !== undefined && refused < allowed ? refused : null,
  };
  return stage;
}

// Where instances share GPUs by their memory, the part that one of them takes, on average.
function amountOf({ gpus, gpuMemoryBytes }: StageResources, nodes: readonly LiveNode[]): number {
  if (gpuMemoryBytes === 0) return gpus;
  const able = nodes.flatMap((node) => (node.gpus ?? []).filter(({ memoryBytes }) => memoryBytes >= gpuMemoryBytes));
  const room = able.reduce((sum, { memoryBytes }) => sum + Math.floor(memoryBytes / gpuMemoryBytes), 0);
  return (gpus * able.length) / room;
}

function loadOf(spec: StageSpec, memory: StageMemory | undefined, queued: number, horizonMs: number): SloLoad {
  const { sloMs, quantile } = policyOf(spec)!;
  const state = memory?.state;
  const rate = (state === undefined ? 0 : presentRate(state.arrivals)) + queued / horizonMs;
  const serviceMs = state !== undefined && state.serviceMs > 0 ? state.serviceMs : (spec.cost?.computeMs ?? 0);
  return { rate, serviceMs, slots: capacityOf(spec), sloMs, quantile };
}
