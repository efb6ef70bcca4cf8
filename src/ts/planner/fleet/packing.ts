// What fits into the memory of a GPU together.
//
// Invariant: an instance holds the weights of each of its models, and the rest of its memory once.
import type { ModelCosts } from '../profiles/costs.js';

/** How many models fit into an instance: each needs its weights, and all share the rest of the memory. */
export function residentOf(memoryGB: number, weightsGB: number, gpuGB: number): number {
  const rest = Math.max(0, memoryGB - weightsGB);
  return weightsGB <= 0 ? 1 : Math.max(1, Math.floor((gpuGB - rest) / weightsGB));
}

/** How many whole pipelines fit into an instance, whichever they are. */
export function wholesIn(costs: readonly ModelCosts[]): number {
  const each = costs.map(({ stages, wholeMemoryGB, gpu }) => {
    const weightsGB = stages.reduce((sum, stage) => sum + stage.weightsGB, 0);
    return residentOf(wholeMemoryGB, weightsGB, gpu.memoryGB);
  });
  return Math.min(...each);
}

/** Between the names of stages that share a GPU, in the name of their pool. */
export const PACKED = ' + ';

/** Shared stages that fit on one GPU together: they take turns there. */
export function packable({ stages, gpu }: ModelCosts): Set<string> {
  const shared = stages.filter((stage) => stage.shared && stage.gpus === 1);
  const fits = shared.reduce((sum, { memoryGB }) => sum + memoryGB, 0) <= gpu.memoryGB;
  return fits && shared.length > 1 ? new Set(shared.map(({ name }) => name)) : new Set();
}
