// Clusters for tests of placement: random ones, and a check that adds up by itself what each node is given.
import fc from 'fast-check';
import { checkSpec, type StageSpecInput, type WorkflowSpec } from '../../src/ts/pipeline/spec.js';
import { checkNode } from '../../src/ts/planner/nodes.js';
import type { Placement, PlacementInput } from '../../src/ts/planner/placement.js';

export const GIB = 2 ** 30;
export type Cluster = PlacementInput;

/** A line of stages, each like `stage`. */
export function chain(length: number, stage: Partial<StageSpecInput> = {}): WorkflowSpec {
  const stages = Array.from({ length }, (_, i) => ({
    ...stage,
    name: `s${i}`,
    ...(i > 0 && { after: [`s${i - 1}`] }),
  }));
  return checkSpec({ name: 'chain', stages });
}

const resources = fc.record(
  {
    gpus: fc.nat(2),
    memoryBytes: fc.nat(8).map((n) => n * GIB),
    cores: fc.nat(40).map((n) => n / 10),
    labels: fc.constantFrom({}, {}, { zone: 'a' }),
  },
  { requiredKeys: [] },
);
const needs = fc.oneof(
  resources,
  fc.record({ gpuMemoryBytes: fc.integer({ min: 1, max: 30 }).map((n) => n * GIB), cores: fc.nat(2) }),
);
const stages = fc.array(fc.record({ instances: fc.integer({ min: 1, max: 6 }), resources: needs }), {
  minLength: 1,
  maxLength: 4,
});
const nodes = fc.array(
  fc.record({
    cores: fc.nat(16),
    memoryBytes: fc.nat(32).map((n) => n * GIB),
    gpus: fc.array(fc.constantFrom(8, 24, 80), { maxLength: 4 }),
    host: fc.nat(3),
    zone: fc.boolean(),
    draining: fc.nat(9).map((n) => n === 0),
  }),
  { minLength: 1, maxLength: 6 },
);
const previous = fc.array(
  fc.record({
    group: fc.tuple(fc.nat(2), fc.nat(3)),
    node: fc.nat(6),
    gpus: fc.uniqueArray(fc.nat(3), { maxLength: 2 }),
  }),
  { maxLength: 8 },
);

/** Workflows, nodes and places as they may be, also places that do not fit any more. */
export const clusters: fc.Arbitrary<Cluster> = fc
  .record({ workflows: fc.array(stages, { minLength: 1, maxLength: 3 }), nodes, previous })
  .map((drawn) => ({
    workflows: drawn.workflows.map((list, i) => ({
      id: `w${i}`,
      weight: 1 + (i % 2),
      spec: checkSpec({
        name: 'w',
        stages: list.map((stage, j) => ({ ...stage, name: `s${j}`, ...(j > 0 && { after: [`s${j - 1}`] }) })),
      }),
    })),
    nodes: drawn.nodes.map(({ gpus, host, zone, ...node }, i) => ({
      ...node,
      name: `n${i}`,
      host: `h${host}`,
      gpus: gpus.map((gib) => ({ memoryBytes: gib * GIB })),
      labels: zone ? { zone: 'a' } : {},
    })),
    previous: drawn.previous.map(({ group: [workflow, stage], node, gpus }, instance) => ({
      group: `w${workflow}/s${stage}`,
      instance,
      node: `n${node}`,
      gpus,
    })),
  }));

/** What is wrong with a placement; undefined: nothing. */
export function overflow({ workflows, nodes }: Cluster, placements: readonly Placement[]): string | undefined {
  const counts = new Map<string, number>();
  for (const { group } of placements) counts.set(group, (counts.get(group) ?? 0) + 1);
  for (const { id, spec } of workflows) {
    for (const stage of spec.stages) {
      if ((counts.get(`${id}/${stage.name}`) ?? 0) > stage.instances) return `too many of ${id}/${stage.name}`;
    }
  }
  const byNode = new Map<string, Placement[]>();
  for (const each of placements) byNode.set(each.node, [...(byNode.get(each.node) ?? []), each]);
  for (const input of nodes) {
    const node = checkNode(input);
    let [cores, memory] = [0, 0];
    const gpuBytes = node.gpus.map(() => 0);
    const users = node.gpus.map(() => [] as boolean[]);
    for (const { group, gpus } of byNode.get(node.name) ?? []) {
      const [id, name] = group.split('/');
      const stage = workflows.find((each) => each.id === id)!.spec.stages.find((each) => each.name === name)!;
      const need = stage.resources!;
      if (node.draining) return `${group} is on ${node.name}, which drains`;
      for (const [key, value] of Object.entries(need.labels)) if (node.labels[key] !== value) return 'a label lacks';
      if (gpus.length !== need.gpus) return `${group} has ${gpus.length} GPUs`;
      cores += need.cores;
      memory += need.memoryBytes;
      for (const gpu of gpus) {
        gpuBytes[gpu]! += need.gpuMemoryBytes;
        users[gpu]!.push(need.gpuMemoryBytes === 0);
      }
    }
    if (cores > node.cores + 1e-9 || memory > node.memoryBytes) return `${node.name} is too full`;
    if (gpuBytes.some((bytes, i) => bytes > node.gpus[i]!.memoryBytes)) return `a GPU of ${node.name} is too full`;
    if (users.some((list) => list.length > 1 && list.includes(true))) return 'a GPU of its own is shared';
  }
  return undefined;
}

/** 1000 nodes of 8 GPUs, and 10 000 instances: 200 workflows of 5 stages with 10 instances each. */
export function largeCluster(): { cluster: Cluster; places: number } {
  const spec = checkSpec({
    name: 'large',
    stages: [
      { name: 's0', instances: 10, resources: { cores: 2, memoryBytes: 4 * GIB } },
      { name: 's1', after: ['s0'], instances: 10, resources: { gpuMemoryBytes: 8 * GIB, cores: 1 } },
      { name: 's2', after: ['s1'], instances: 10, resources: { gpus: 2, cores: 4 } },
      { name: 's3', after: ['s2'], instances: 10, resources: { gpuMemoryBytes: 24 * GIB, cores: 1 } },
      { name: 's4', after: ['s3'], instances: 10, resources: { cores: 1, memoryBytes: GIB } },
    ],
  });
  const nodes = Array.from({ length: 1000 }, (_, i) => ({
    name: `n${String(i).padStart(4, '0')}`,
    cores: 64,
    memoryBytes: 512 * GIB,
    gpus: Array.from({ length: 8 }, () => ({ memoryBytes: 80 * GIB })),
    devices: [{ name: 'mlx5_0', fabric: `f${i % 4}` }],
  }));
  const workflows = Array.from({ length: 200 }, (_, i) => ({ id: `w${i}`, spec }));
  return { cluster: { workflows, nodes }, places: 10_000 };
}
