// Why an instance fits nowhere, with numbers.
//
// Invariant: the reason names what the stage needs and the most that there is of it, and on which node.
import type { Group } from './demand.js';
import { Ledger } from './ledger.js';
import type { NodeInfo } from './nodes.js';

/** Whether a node has the labels that a stage asks for. */
export function hasLabels(node: Pick<NodeInfo, 'labels'>, labels: Readonly<Record<string, string>>): boolean {
  for (const name of Object.keys(labels)) {
    if (!Object.hasOwn(node.labels, name) || node.labels[name] !== labels[name]) return false;
  }
  return true;
}

/** Whether no node could hold an instance, even if it were empty and did not drain. */
export function impossible(group: Group, nodes: readonly NodeInfo[]): boolean {
  const { resources, coreParts } = group.need;
  return !nodes.some((node) => {
    if (node.cores * 1000 < coreParts || node.memoryBytes < resources.memoryBytes) return false;
    const able = node.gpus.reduce((sum, gpu) => sum + (gpu.memoryBytes >= resources.gpuMemoryBytes ? 1 : 0), 0);
    return able >= resources.gpus && hasLabels(node, resources.labels);
  });
}

/**
 * Says what is missing.
 *
 * @param placed instances of the group that have a node
 * @param ledger what is free now
 */
export function whyUnplaced(group: Group, placed: number, nodes: readonly NodeInfo[], ledger: Ledger): string {
  const { resources } = group.need;
  const stage = `stage ${group.stage}`;
  if (nodes.length === 0) return `${stage} has no node to run on`;
  const labelled = nodes.map((_, i) => i).filter((i) => hasLabels(nodes[i]!, resources.labels));
  if (labelled.length === 0) {
    const labels = Object.entries(resources.labels).map(([name, value]) => `${name}=${value}`);
    return `${stage} needs a node with ${labels.join(', ')}; none of the ${nodes.length} nodes has that`;
  }
  if (impossible(group, nodes)) {
    const empty = new Ledger(nodes);
    return `${stage} needs ${shortage(group, labelled, nodes, empty, false)}`;
  }
  const open = labelled.filter((i) => !nodes[i]!.draining);
  const missing = `${group.wanted - placed} of ${group.wanted} instances of ${stage} do not fit`;
  if (open.length === 0) return `${missing}: every node that could hold one drains`;
  return `${missing}: each needs ${shortage(group, open, nodes, ledger, true)}`;
}

/** An amount that a stage needs: how much, how much each node has, and words for both. */
interface Amount {
  readonly needs: number;
  readonly needed: string;
  readonly of: (node: number) => number;
  readonly says: (amount: number) => string;
  readonly whose: string;
}

// The first amount that no node has, or all of them where each node lacks another one.
function shortage(
  group: Group,
  among: readonly number[],
  nodes: readonly NodeInfo[],
  ledger: Ledger,
  isFree: boolean,
): string {
  const amounts = amountsOf(group, ledger, nodes);
  for (const amount of amounts) {
    let best = among[0]!;
    for (const node of among) if (amount.of(node) > amount.of(best)) best = node;
    const most = amount.of(best);
    if (most >= amount.needs) continue;
    if (most <= 0) return `${amount.needed}; ${isFree ? 'none is free on any node' : 'no node has any'}`;
    const has = isFree ? 'has free' : 'has';
    const words = amount.whose === '' ? `the most that a node ${has} is` : `${amount.whose} ${has}`;
    return `${amount.needed}; ${words} ${amount.says(most)} (node ${nodes[best]!.name})`;
  }
  const all = amounts.map(({ needed }) => needed).join(', ');
  return `${all} on one node; no node has all of that${isFree ? ' free' : ''}`;
}

function amountsOf({ need }: Group, ledger: Ledger, nodes: readonly NodeInfo[]): Amount[] {
  const { gpus, gpuMemoryBytes, memoryBytes, cores } = need.resources;
  const amounts: Amount[] = [];
  if (gpuMemoryBytes > 0) {
    const needed = `${bytes(gpuMemoryBytes)} of GPU memory`;
    const of = (node: number) => ledger.largestFreeGpu(node);
    amounts.push({ needs: gpuMemoryBytes, needed, of, says: bytes, whose: 'the largest GPU' });
  }
  if (gpus > 0) {
    const needed = `${gpus} ${gpus === 1 ? 'GPU' : 'GPUs'}${need.isWhole ? ' of its own' : ''}`;
    const of = (node: number) => (need.isWhole ? ledger.unusedGpus(node) : nodes[node]!.gpus.length);
    amounts.push({ needs: gpus, needed, of, says: String, whose: '' });
  }
  if (memoryBytes > 0) {
    const of = (node: number) => ledger.freeMemory(node);
    amounts.push({ needs: memoryBytes, needed: `${bytes(memoryBytes)} of memory`, of, says: bytes, whose: '' });
  }
  if (cores > 0) {
    const of = (node: number) => ledger.freeCores(node);
    amounts.push({ needs: cores, needed: `${cores} cores`, of, says: (n) => String(Number(n.toFixed(3))), whose: '' });
  }
  return amounts;
}

/** An amount of memory for people: `24 GiB`. */
function bytes(count: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let [value, unit] = [count, 0];
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number(value.toFixed(value < 10 ? 2 : 1))} ${units[unit]}`;
}
