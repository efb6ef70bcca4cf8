// Proves that the peak of a fleet is placed whole, and that what fits nowhere is said.
import t from 'tap';
import type { Compared } from '../../../src/ts/planner/fleet/compared.js';
import { placementOf } from '../../../src/ts/planner/fleet/peak-placement.js';
import { H100 } from './workloads.js';

// Only the figures that a placement is made of.
function found(pools: readonly { name: string; gpus: number; memoryGB: number; gpusPeak: number }[]): Compared {
  return { pools, gpusPeak: pools.reduce((sum, { gpusPeak }) => sum + gpusPeak, 0) } as unknown as Compared;
}

void t.test('all instances of the peak, in groups where there are many', async (t) => {
  const chosen = found([
    { name: 'one', gpus: 1, memoryGB: 40, gpusPeak: 130 },
    { name: 'wide', gpus: 4, memoryGB: 80, gpusPeak: 24 },
  ]);
  t.same(placementOf(chosen, H100), { nodes: 21, placed: 136, unplaced: [] });
});

void t.test('a pool whose instance needs more memory than a GPU has', async (t) => {
  const chosen = found([
    { name: 'small', gpus: 1, memoryGB: 40, gpusPeak: 3 },
    { name: 'large', gpus: 1, memoryGB: 96, gpusPeak: 2 },
  ]);
  t.same(placementOf(chosen, H100), {
    nodes: 1,
    placed: 3,
    unplaced: ['large needs 96 GB of GPU memory; a H100 has 80'],
  });
});
