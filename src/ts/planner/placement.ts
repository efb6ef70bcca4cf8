// Where instances run: from what is wanted, what nodes have and where instances are now, to where they shall be.
//
// Invariant: pure, and the same for the same input in any order. No node and no GPU is given more than it has, nothing
// is on a node that drains or lacks a label, and what can stay stays: placing again with the result as `previous` moves
// nothing. What does not fit is said, with numbers, and keeps nothing else from running.
import { RdmaError } from '../core/errors.js';
import { checkInteger, checkObject, checkString, invalidArgument } from '../core/validate.js';
import { MAX_INSTANCE_NUMBER } from '../pipeline/plan.js';
import { fairShares, type Group, groupsOf, type WorkflowDemand } from './demand.js';
import { checkNodes, type NodeInfo, type NodeInfoInput } from './nodes.js';
import { PlacementSearch } from './placement-search.js';
import { impossible, whyUnplaced } from './unplaced.js';

/** One instance on a node. */
export interface Placement {
  /** `workflow/stage`, or the name of a pool. */
  readonly group: string;
  readonly instance: number;
  /** The node's name. */
  readonly node: string;
  /** Numbers of the node's GPUs that it uses, ascending. */
  readonly gpus: readonly number[];
}

/** Instances that are wanted and fit nowhere. */
export interface Unplaced {
  readonly group: string;
  readonly wanted: number;
  readonly placed: number;
  /** No node could hold one, even empty. */
  readonly isImpossible: boolean;
  /** What is missing, with numbers, for people. */
  readonly reason: string;
}

/** How much of a pool a workflow has. */
export interface PoolShare {
  readonly pool: string;
  readonly workflow: string;
  /** Fractions too. */
  readonly instances: number;
}

export interface PlacementInput {
  readonly workflows: readonly WorkflowDemand[];
  readonly nodes: readonly NodeInfoInput[];
  /** Where instances are now; default nowhere. */
  readonly previous?: readonly Placement[] | undefined;
}

export interface PlacementResult {
  /** By group, then by instance number. */
  readonly placements: readonly Placement[];
  /** How many instances of `previous` are on another node now. */
  readonly moved: number;
  readonly unplaced: readonly Unplaced[];
  readonly shares: readonly PoolShare[];
}

/**
 * Places instances on nodes. In this order: what is there and still fits stays; each further instance goes to the stage
 * that has least of what it wants, on the node that keeps half of the stage elsewhere and is nearest to its neighbours;
 * who has a smaller part takes from who has a larger one; a stage that is on one host alone moves one instance.
 *
 * @param input workflows and how many instances each stage shall have, nodes, and where instances are
 * @returns where each instance shall be, and what does not fit
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming what is wrong
 */
export function place(input: PlacementInput): PlacementResult {
  const { workflows, nodes: given, previous = [] } = checkObject<PlacementInput>('input', input);
  if (!Array.isArray(workflows)) throw invalidArgument('workflows', workflows, 'a list');
  const nodes = checkNodes(given);
  const ordered = [...(workflows as readonly WorkflowDemand[])].sort((a, b) => compare(a?.id, b?.id));
  const groups = groupsOf(ordered);
  const search = new PlacementSearch(groups, nodes, idleGroups(groups, nodes));
  const before = checkPrevious(previous);
  keep(search, groups, nodes, before);
  search.run();
  return resultOf(search, groups, nodes, before);
}

// Groups of workflows that cannot run, as a stage of theirs fits on no node: they come after all others.
function idleGroups(groups: readonly Group[], nodes: readonly NodeInfo[]): boolean[] {
  const stopped = new Set<string>();
  for (const group of groups) {
    if (group.wanted > 0 && impossible(group, nodes)) for (const { workflow } of group.users) stopped.add(workflow);
  }
  return groups.map((group) => group.users.every(({ workflow }) => stopped.has(workflow)));
}

function checkPrevious(previous: unknown): readonly Placement[] {
  if (!Array.isArray(previous)) throw invalidArgument('previous', previous, 'a list');
  const seen = new Set<string>();
  for (const each of previous) {
    const { group, instance, node, gpus } = checkObject<Placement>('a previous placement', each);
    checkString('group of a previous placement', group);
    checkString('node of a previous placement', node);
    checkInteger('instance of a previous placement', instance, 0, MAX_INSTANCE_NUMBER);
    if (!Array.isArray(gpus)) throw invalidArgument('gpus of a previous placement', gpus, 'a list of numbers');
    const key = `${group} ${instance}`;
    if (seen.has(key)) throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `previous names ${group} ${instance} twice`);
    seen.add(key);
  }
  return [...(previous as Placement[])].sort((a, b) => compare(a.group, b.group) || a.instance - b.instance);
}

function keep(
  search: PlacementSearch,
  groups: readonly Group[],
  nodes: readonly NodeInfo[],
  before: readonly Placement[],
): void {
  const groupNumbers = new Map(groups.map((group, i) => [group.name, i]));
  const nodeNumbers = new Map(nodes.map((node, i) => [node.name, i]));
  for (const { group, instance, node, gpus } of before) {
    const number = groupNumbers.get(group);
    if (number !== undefined) search.keep(number, instance, nodeNumbers.get(node) ?? -1, gpus);
  }
}

function resultOf(
  search: PlacementSearch,
  groups: readonly Group[],
  nodes: readonly NodeInfo[],
  before: readonly Placement[],
): PlacementResult {
  const placements: Placement[] = [];
  const unplaced: Unplaced[] = [];
  const shares: PoolShare[] = [];
  const now = new Map<string, Map<number, string>>();
  const names = groups.map((_, i) => i).sort((a, b) => compare(groups[a]!.name, groups[b]!.name));
  for (const i of names) {
    const group = groups[i]!;
    const places = search.placesOf(i);
    const own = new Map<number, string>();
    now.set(group.name, own);
    for (const { instance, node, gpus } of places) {
      placements.push({ group: group.name, instance, node: nodes[node]!.name, gpus });
      own.set(instance, nodes[node]!.name);
    }
    if (places.length < group.wanted) {
      const reason = whyUnplaced(group, places.length, nodes, search.ledger);
      const isImpossible = impossible(group, nodes);
      unplaced.push({ group: group.name, wanted: group.wanted, placed: places.length, isImpossible, reason });
    }
    if (group.name.includes('/')) continue; // no pool
    const parts = fairShares(places.length, group.users);
    for (const [j, user] of group.users.entries()) {
      shares.push({ pool: group.name, workflow: user.workflow, instances: parts[j]! });
    }
  }
  let moved = 0;
  for (const { group, instance, node } of before) {
    const to = now.get(group)?.get(instance);
    if (to !== undefined && to !== node) moved++;
  }
  return { placements, moved, unplaced, shares };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
