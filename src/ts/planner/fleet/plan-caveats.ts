// What a plan assumes, and what it does not know.
//
// Invariant: each assumption and each gap has a sentence; none is left out because it is small.
import { assumptionsOf } from '../profiles/costs.js';
import type { Profile } from '../profiles/profile.js';
import type { Trace } from '../traces/trace.js';
import type { Compared } from './compared.js';
import { PACKED } from './packing.js';
import type { PlanInput } from './plan.js';

function distinct(profiles: readonly Profile[]): Profile[] {
  return [...new Map(profiles.map((each) => [each.id, each])).values()];
}

/** Assumptions that stand in for figures that the profiles lack. */
export function assumedOf(profiles: readonly Profile[]): string[] {
  return distinct(profiles).flatMap((profile) => assumptionsOf(profile).map((words) => `${profile.id}, ${words}`));
}

/** What a plan does not know, and what the simulation leaves out. */
export function unknownOf(input: PlanInput, trace: Trace, profiles: readonly Profile[], chosen: Compared): string[] {
  const list: string[] = [];
  if (input.isSample) list.push('the trace is one sample: there is no interval over seeds');
  else if (input.seeds.length === 1) list.push('one seed was simulated: there is no interval over seeds');
  if (input.gpu.price === undefined) list.push('no price was given: there is no cost');
  if (trace.hasAdapter.every((has) => has === 0)) list.push('the trace names no adapters: none is switched');
  for (const profile of distinct(profiles)) {
    const kinds = profile.stages.flatMap((stage) => stage.seconds).filter(({ gpu }) => gpu === input.gpu.kind);
    if (!kinds.some(({ kind }) => kind === 'measured')) {
      list.push(`${profile.id}: no figure was measured by this project; they are published or derived`);
    }
  }
  if (!chosen.hasGateway) {
    list.push(
      `${chosen.name} is simulated with a queue for each stage; behind one gateway requests wait a little longer`,
    );
  }
  list.push('tasks take exactly what the profile says; networks, disks and hosts never hold them up');
  if (chosen.settings !== undefined) {
    list.push('all instances have their peaks in GPUs that somebody can lend and take back within the load time');
  }
  if (chosen.pools.some(({ name }) => name.includes(PACKED))) {
    list.push('stages that share a GPU take turns; on a GPU they may run at the same time and hold each other up');
  }
  const { faults } = input;
  if (faults !== undefined && (faults.nodeDeathsPerHour > 0 || faults.slowNodes > 0)) {
    list.push('mono-fixed and staged-fixed are sized as if no node died or were slow, and simulated with both');
  }
  return list;
}
