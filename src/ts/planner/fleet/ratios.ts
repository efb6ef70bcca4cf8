// What each step between two fleets saves.
//
// Invariant: both fleets of a step faced the same requests, costs and SLO. A step is left out where one of them is not
// in the list.
import type { Compared, FleetName } from './compared.js';

/** How much one step saves. */
export interface Ratio {
  readonly what: string;
  readonly from: FleetName;
  readonly to: FleetName;
  /** GPUs of the first over those of the second: on average, and at the peak. */
  readonly mean: number;
  readonly peak: number;
}

const STEPS: readonly (readonly [what: string, from: FleetName, to: FleetName])[] = [
  ['elasticity', 'mono-fixed', 'mono-elastic'],
  ['sharing GPUs between models', 'mono-elastic', 'mono-shared-elastic'],
  ['splitting into stages', 'mono-shared-elastic', 'staged-elastic'],
  ['batches, more GPUs a task, memory', 'staged-elastic', 'staged-full'],
  ['left to the bound', 'staged-full', 'bound'],
  ['splitting, everything fixed', 'mono-fixed', 'staged-fixed'],
  ['staged-elastic relative to mono-fixed', 'mono-fixed', 'staged-elastic'],
  ['staged-elastic relative to mono-shared of fixed size', 'mono-shared', 'staged-elastic'],
  ['staged-full relative to the strongest rival', 'mono-shared-elastic', 'staged-full'],
];

/** The contribution of each step between two fleets of the list. */
export function ratiosOf(fleets: readonly Compared[]): Ratio[] {
  const by = new Map(fleets.map((fleet) => [fleet.name, fleet]));
  return STEPS.flatMap(([what, from, to]) => {
    const [a, b] = [by.get(from), by.get(to)];
    if (a === undefined || b === undefined) return [];
    return { what, from, to, mean: a.gpusMean / b.gpusMean, peak: a.gpusPeak / b.gpusPeak };
  });
}
