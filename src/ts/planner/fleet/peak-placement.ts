// The instances of a fleet at its peak, on nodes of 8 GPUs, by the shipped placement.
//
// Invariant: what is not placed is reported with its reason; instances that fit on no GPU are not tried.
import { checkSpec } from '../../pipeline/spec.js';
import { place } from '../placement.js';
import type { GpuKind } from '../profiles/costs.js';
import type { Compared } from './compared.js';
import { NODE_GPUS } from './fleet.js';
import type { PlanResult } from './plan.js';

/** Instances of a stage are placed in groups of this size: a workflow may have no more. */
const PLACED_AT_ONCE = 64;

/** Places the peak of a fleet, on 5 % more nodes than its GPUs fill. */
export function placementOf(chosen: Compared, gpu: GpuKind): PlanResult['placement'] {
  const nodes = Math.max(1, Math.ceil((chosen.gpusPeak * 1.05) / NODE_GPUS));
  const memoryBytes = Math.round(gpu.memoryGB * 1e9);
  const gpus = Array.from({ length: NODE_GPUS }, () => ({ memoryBytes }));
  const tooLarge = chosen.pools.filter(({ memoryGB }) => memoryGB > gpu.memoryGB);
  const workflows = chosen.pools.flatMap((pool, i) => {
    if (tooLarge.includes(pool)) return [];
    const peak = Math.round(pool.gpusPeak / pool.gpus);
    const spec = checkSpec({ name: `pool-${i}`, stages: [{ name: 'instance', resources: { gpus: pool.gpus } }] });
    const parts = Math.ceil(peak / PLACED_AT_ONCE);
    return Array.from({ length: parts }, (_, part) => {
      const wanted = [Math.min(PLACED_AT_ONCE, peak - part * PLACED_AT_ONCE)];
      return { id: `pool-${i}-${part}`, spec, wanted };
    });
  });
  const names = Array.from({ length: nodes }, (_, i) => ({ name: `n${i}`, gpus }));
  const { placements, unplaced } = place({ workflows, nodes: names });
  const reasons = tooLarge.map(({ name, memoryGB }) => {
    return `${name} needs ${memoryGB} GB of GPU memory; a ${gpu.kind} has ${gpu.memoryGB}`;
  });
  return { nodes, placed: placements.length, unplaced: [...reasons, ...unplaced.map(({ reason }) => reason)] };
}
