// The GPUs that places hold until they have ended, so that no other place gets them before.
//
// Invariant: pure. A GPU without memory requests has one process at a time: a place whose GPU another place still holds
// waits until no plan has that one any more. Without GPUs this costs nothing.
import type { Placement } from '../planner/policies.js';
import type { App, Assignment, PlanRecord } from './cluster-records.js';

/** An app with its places, of which those that are not alive hold nothing. */
export interface Claimant {
  readonly app: App;
  readonly record: PlanRecord;
  /** By place: also those that the record has let go of just now. */
  readonly assignments: Readonly<Record<string, Assignment>>;
  readonly isAlive: (assignment: Assignment | undefined) => boolean;
}

interface Holder {
  readonly place: string;
  readonly isWhole: boolean;
}

export class GpuClaims {
  private readonly holders = new Map<string, Holder[]>(); // by node and GPU
  private readonly newcomers = new Map<string, string[]>(); // groups, likewise

  /** @param placements where all apps shall be */
  constructor(
    private readonly apps: readonly Claimant[],
    private readonly placements: readonly Placement[],
  ) {
    for (const { app, assignments, isAlive } of apps) {
      for (const [name, assignment] of Object.entries(assignments)) {
        if (!isAlive(assignment)) continue;
        const holder = { place: `${app.name}/${name}`, isWhole: isWhole(app, name) };
        for (const gpu of assignment.gpus) add(this.holders, keyOf(assignment.node, gpu), holder);
      }
    }
    for (const placement of placements) {
      if (placement.gpus.length === 0 || this.isThere(placement)) continue;
      for (const gpu of placement.gpus) add(this.newcomers, keyOf(placement.node, gpu), placement.group);
    }
  }

  // The place that a placement is about is there already.
  private isThere({ group, instance, node }: Placement): boolean {
    const own = this.apps.find(({ app }) => group.startsWith(`${app.name}/`));
    if (own === undefined) return false;
    const { app, record, isAlive } = own;
    const stage = app.spec.stages.findIndex(({ name }) => group === `${app.name}/${name}`);
    const assignment = record.assignments[`${app.spec.stages[stage]?.name}/${instance}`];
    const isNewest = record.plan?.instances[stage]?.includes(instance) === true;
    return isNewest && isAlive(assignment) && assignment!.node === node;
  }

  /** Who holds a GPU that a placement needs; undefined: it may start. */
  whoHolds(app: App, placement: Placement): string | undefined {
    if (placement.gpus.length === 0 || this.isThere(placement)) return undefined;
    const isOwnWhole = isWhole(app, placement.group.slice(app.name.length + 1));
    for (const gpu of placement.gpus) {
      const list = this.holders.get(keyOf(placement.node, gpu)) ?? [];
      const holder = list.find((each) => isOwnWhole || each.isWhole);
      if (holder !== undefined) return holder.place;
    }
    return undefined;
  }

  /** Whether a GPU of a place was given to another one: it has to end. */
  isGiven({ node, gpus }: Assignment): boolean {
    return gpus.some((gpu) => this.newcomers.has(keyOf(node, gpu)));
  }

  /** The placements of an app that can begin now, and what the others wait for, in words. */
  ready(app: App): { placements: Placement[]; waiting: string[] } {
    const placements: Placement[] = [];
    const waiting: string[] = [];
    for (const placement of this.placements) {
      if (!placement.group.startsWith(`${app.name}/`)) continue;
      const holder = this.whoHolds(app, placement);
      if (holder === undefined) placements.push(placement);
      else {
        const stage = placement.group.slice(app.name.length + 1);
        waiting.push(`an instance of stage ${stage} waits for a GPU of ${placement.node} that ${holder} still has`);
      }
    }
    return { placements, waiting };
  }
}

function add<T>(map: Map<string, T[]>, key: string, value: T): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

const keyOf = (node: string, gpu: number): string => `${node} ${gpu}`;

/** @param place `stage/instance`, or the name of the stage */
function isWhole({ spec }: App, place: string): boolean {
  const [name] = place.split('/');
  return (spec.stages.find((stage) => stage.name === name)?.resources?.gpuMemoryBytes ?? 0) === 0;
}
