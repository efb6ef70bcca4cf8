// The demand of stages for the GPUs of nodes, as the input of their division.
//
// Invariant: pure. Stages that may use the same node are in one demand, so the division of one demand does not affect
// another. If no stage is scaled by load there is nothing to divide.
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
} from '../planner/policies.js';
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

/** Nodes, as many wishes look at them. */
interface Nodes {
  readonly list: readonly LiveNode[];
  readonly byName: ReadonlyMap<string, LiveNode>;
  /** By what a stage needs: numbers of the nodes that may hold an instance. */
  readonly able: Map<string, readonly number[]>;
}

/**
 * What is wanted of the GPUs, stages together that share some.
 *
 * @param state what each stage was given before
 * @param horizonMs in which tasks that wait shall be done
 */
export function demandsOf(world: GpuWorld, state: GpuState, horizonMs: number): GpuDemand[] {
  const { apps, nodes: list } = world;
  if (!apps.some(({ app }) => scaledStages(app).some(({ resources }) => (resources?.gpus ?? 0) > 0))) return [];
  const nodes: Nodes = { list, byName: new Map(list.map((node) => [node.name, node])), able: new Map() };
  const wishes = apps.flatMap((known) => {
    return known.app.spec.stages.flatMap((spec): Wish[] => {
      const { resources = NO_RESOURCES } = spec;
      if (resources.gpus === 0) return [];
      const able = ableFor(resources, nodes);
      const key = stageKey(known.app.name, spec.name);
      return able.length === 0 ? [] : [{ known, spec, key, resources, nodes: able }];
    });
  });
  return together(wishes, list.length).flatMap((members) => {
    const seen = members.map((wish) => stageOf(wish, world, nodes, state, horizonMs));
    const stages = seen.map(({ stage }) => stage);
    if (stages.every(({ load }) => load === null)) return [];
    const lists = new Set(members.map((wish) => wish.nodes)); // stages of one need have the same one
    const numbers = new Set([...lists].flat());
    const gpus = [...numbers].reduce((sum, node) => sum + list[node]!.gpus!.length, 0);
    // On a node that drains they are there for who has them, and for nobody else.
    const kept = seen.reduce((sum, { stage, leaving }) => sum + leaving * stage.gpus, 0);
    return [{ gpus: gpus + kept, stages, blocked: [] }];
  });
}

function ableFor(resources: StageResources, { list, able }: Nodes): readonly number[] {
  const key = JSON.stringify([resources.gpus, resources.gpuMemoryBytes, resources.labels]);
  const known = able.get(key);
  if (known !== undefined) return known;
  const found = list.flatMap((node, i) => (isAble(node, resources) ? [i] : []));
  able.set(key, found);
  return found;
}

function isAble({ draining, gpus = [], labels = {} }: LiveNode, resources: StageResources): boolean {
  if (draining === true || gpus.length < resources.gpus) return false;
  const isLarge = gpus.some(({ memoryBytes }) => memoryBytes >= resources.gpuMemoryBytes);
  return isLarge && hasLabels({ labels }, resources.labels);
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
  const lists = new Set(wishes.map((wish) => wish.nodes));
  for (const list of lists) for (const node of list) parents[rootOf(node)] = rootOf(list[0]!);
  const groups = new Map<number, Wish[]>();
  for (const wish of wishes) {
    const root = rootOf(wish.nodes[0]!);
    const group = groups.get(root);
    if (group === undefined) groups.set(root, [wish]);
    else group.push(wish);
  }
  return [...groups.values()];
}

function stageOf(wish: Wish, world: GpuWorld, nodes: Nodes, state: GpuState, horizonMs: number) {
  const { known, spec, key, resources } = wish;
  const { app, record } = known;
  const { name, scale } = spec;
  const index = app.spec.stages.indexOf(spec);
  const wanted = app.wanted[name]!;
  const isScaled = scaledStages(app).includes(spec);
  const { memory, queued } = world.scaledOf(app, name);
  let [has, leaving] = [0, 0];
  for (const instance of record?.plan?.instances[index] ?? []) {
    const assignment = record!.assignments[`${name}/${instance}`];
    const node = assignment === undefined ? undefined : nodes.byName.get(assignment.node);
    if (node?.run !== assignment?.run || node === undefined) continue;
    has++;
    if (node.draining === true) leaving++;
  }
  const allowed = allowedOf(wanted, scale?.min ?? 0, state.stages[key]?.granted);
  const refused = record?.refused?.counts[name];
  const stage: GpuStage = {
    stage: key,
    has,
    wanted,
    min: scale?.min ?? 0,
    gpus: amountOf(resources, wish.nodes, nodes.list),
    weight: 1,
    loadMs: Math.max(scale?.loadMs ?? 0, memory?.loadMs ?? 0),
    load: isScaled ? loadOf(spec, memory, queued, horizonMs) : null,
    refused: isScaled && refused !== undefined && refused < allowed ? refused : null,
  };
  return { stage, leaving };
}

// Where instances share GPUs by their memory, the part that one of them takes, on average.
function amountOf(
  { gpus, gpuMemoryBytes }: StageResources,
  own: readonly number[],
  nodes: readonly LiveNode[],
): number {
  if (gpuMemoryBytes === 0) return gpus;
  const able = own.flatMap((node) =>
    (nodes[node]!.gpus ?? []).filter(({ memoryBytes }) => memoryBytes >= gpuMemoryBytes),
  );
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
