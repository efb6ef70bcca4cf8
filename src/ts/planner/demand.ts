// What is to be placed: the stages of all workflows as groups of equal instances.
//
// Invariant: each stage of each workflow is in exactly one group; a group's instances are interchangeable, so they have
// the same needs. A group that workflows share wants as many instances as they want of it together.
import { RdmaError } from '../core/errors.js';
import { checkObject, checkString, invalidArgument } from '../core/validate.js';
import { NO_RESOURCES, type StageResources } from '../pipeline/resources.js';
import { MAX_INSTANCES, type WorkflowSpec } from '../pipeline/spec.js';
import { type Need, needOf } from './ledger.js';

const NAME = /^[^/\s]+$/;
const MAX_WEIGHT = 1e6;

/** How much of a workflow is wanted. */
export interface WorkflowDemand {
  /** Unique: the workflow's name, or its name and version, such as `clip@3`. No slash, no space. */
  readonly id: string;
  readonly spec: WorkflowSpec;
  /** Instances wanted of each stage, in the order of the spec, 0 to 64, fractions too; default as the spec says. */
  readonly wanted?: readonly number[] | undefined;
  /** What it counts for beside the others when not all fits, above 0; default 1. */
  readonly weight?: number | undefined;
  /** By stage: the pool of instances that it shares with stages of other workflows. */
  readonly pools?: Readonly<Record<string, string>> | undefined;
}

/** One workflow's part in a group. */
export interface GroupUser {
  readonly workflow: string;
  readonly wanted: number;
  readonly weight: number;
}

/** Another group that exchanges data with a group. */
export interface Neighbour {
  readonly group: number;
  /** How much, relative to the largest message of the workflow: above 0, up to 1. */
  readonly weight: number;
}

/** Instances of a stage that are interchangeable. */
export interface Group {
  /** `workflow/stage`, or the name of a pool. */
  readonly name: string;
  /** The stage, for messages. */
  readonly stage: string;
  readonly need: Need;
  /** Whole instances, of all users together. */
  readonly wanted: number;
  readonly weight: number;
  readonly users: readonly GroupUser[];
  readonly neighbours: readonly Neighbour[];
}

interface Draft {
  name: string;
  stage: string;
  resources: StageResources;
  users: GroupUser[];
  neighbours: Map<number, number>;
}

/**
 * Groups the stages of workflows.
 *
 * @returns the groups, in the order in which the workflows name them
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for two workflows of one id, numbers out of range, or a pool whose stages
 *   need different resources
 */
export function groupsOf(demands: readonly WorkflowDemand[]): Group[] {
  const drafts: Draft[] = [];
  const byName = new Map<string, number>();
  const ids = new Set<string>();
  for (const demand of demands) {
    const { id, spec, wanted, weight, pools } = checkDemand(demand);
    if (ids.has(id)) throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `two workflows are named ${id}`);
    ids.add(id);
    const indices = spec.stages.map((stage, i) => {
      const name = Object.hasOwn(pools, stage.name) ? pools[stage.name]! : `${id}/${stage.name}`;
      const resources = stage.resources ?? NO_RESOURCES;
      let index = byName.get(name);
      if (index === undefined) {
        index = drafts.length;
        byName.set(name, index);
        drafts.push({ name, stage: stage.name, resources, users: [], neighbours: new Map() });
      } else if (JSON.stringify(drafts[index]!.resources) !== JSON.stringify(resources)) {
        throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `the stages of pool ${name} need different resources`, {
          remedy: `give stage ${stage.name} of ${id} the needs of the others, or another pool`,
        });
      }
      drafts[index]!.users.push({ workflow: id, wanted: wanted[i]!, weight });
      return index;
    });
    addNeighbours(drafts, spec, indices);
  }
  return drafts.map((draft) => finish(draft));
}

interface CheckedDemand {
  readonly id: string;
  readonly spec: WorkflowSpec;
  readonly wanted: readonly number[];
  readonly weight: number;
  readonly pools: Readonly<Record<string, string>>;
}

function checkDemand(input: WorkflowDemand): CheckedDemand {
  const { spec, wanted, weight = 1, pools = {}, ...rest } = checkObject<WorkflowDemand>('workflow', input);
  const id = checkString('id of a workflow', rest.id, { minLength: 1, maxLength: 255, pattern: NAME });
  const stages = checkObject<WorkflowSpec>(`spec of ${id}`, spec).stages;
  if (!(typeof weight === 'number' && weight > 0 && weight <= MAX_WEIGHT)) {
    throw invalidArgument(`weight of ${id}`, weight, `a number above 0, up to ${MAX_WEIGHT}`);
  }
  const list = wanted ?? stages.map((stage) => stage.instances);
  if (!Array.isArray(list) || list.length !== stages.length) {
    throw invalidArgument(`wanted of ${id}`, list, `a list of ${stages.length} numbers, one for each stage`);
  }
  for (const [i, count] of list.entries()) {
    if (typeof count === 'number' && count >= 0 && count <= MAX_INSTANCES) continue;
    throw invalidArgument(`wanted of ${id}/${stages[i]!.name}`, count, `a number from 0 to ${MAX_INSTANCES}`);
  }
  checkObject(`pools of ${id}`, pools);
  for (const [stage, pool] of Object.entries(pools)) {
    if (!stages.some(({ name }) => name === stage)) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `pools of ${id} names ${stage}, which is no stage of it`);
    }
    checkString(`pool of ${id}/${stage}`, pool, { minLength: 1, maxLength: 255, pattern: NAME });
  }
  return { id, spec, wanted: list, weight, pools };
}

function addNeighbours(drafts: readonly Draft[], spec: WorkflowSpec, indices: readonly number[]): void {
  const numbers = new Map(spec.stages.map((stage, i) => [stage.name, i]));
  const most = Math.max(...spec.stages.map((stage) => stage.maxOutputBytes));
  for (const [i, stage] of spec.stages.entries()) {
    for (const before of stage.after) {
      const j = numbers.get(before);
      if (j === undefined) continue; // the request
      const [from, to] = [indices[j]!, indices[i]!];
      if (from === to) continue;
      const weight = spec.stages[j]!.maxOutputBytes / most;
      for (const [a, b] of [
        [from, to],
        [to, from],
      ] as const) {
        const { neighbours } = drafts[a]!;
        neighbours.set(b, Math.max(weight, neighbours.get(b) ?? 0));
      }
    }
  }
}

function finish({ name, stage, resources, users, neighbours }: Draft): Group {
  let [wanted, weighted] = [0, 0];
  for (const user of users) {
    wanted += user.wanted;
    weighted += user.wanted * user.weight;
  }
  return {
    name,
    stage,
    need: needOf(resources),
    wanted: Math.ceil(wanted - 1e-9), // thirds add up to one
    weight: wanted > 0 ? weighted / wanted : 1,
    users,
    neighbours: [...neighbours].map(([group, weight]) => ({ group, weight })),
  };
}

/**
 * Shares what there is: nobody gets more than it wants, and what one does not want the others share by weight.
 *
 * @param amount to share, 0 or more
 * @param users what each wants, 0 or more, and its weight, above 0
 * @returns what each gets: max-min fair (Bertsekas and Gallager, Data Networks, 6.5.2), with weights
 */
export function fairShares(amount: number, users: readonly Pick<GroupUser, 'wanted' | 'weight'>[]): number[] {
  const shares = users.map(() => 0);
  // Who is satisfied at the lowest level of water comes first.
  const order = users.map((_, i) => i).sort((a, b) => level(users[a]!) - level(users[b]!) || a - b);
  let left = amount;
  let weight = users.reduce((sum, user) => sum + user.weight, 0);
  for (const i of order) {
    const user = users[i]!;
    shares[i] = Math.min(user.wanted, (left * user.weight) / weight, left);
    left = Math.max(0, left - shares[i]!);
    weight -= user.weight;
  }
  return shares;
}

function level(user: Pick<GroupUser, 'wanted' | 'weight'>): number {
  return user.wanted / user.weight;
}
