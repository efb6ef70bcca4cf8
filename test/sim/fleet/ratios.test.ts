// Proves that a step saves what the two fleets say, and that one without both fleets is left out.
import t from 'tap';
import type { Compared, FleetName } from '../../../src/ts/planner/fleet/compared.js';
import { ratiosOf } from '../../../src/ts/planner/fleet/ratios.js';

// Only the figures that a ratio is made of.
const found = (name: FleetName, gpusMean: number, gpusPeak: number) => ({ name, gpusMean, gpusPeak }) as Compared;

void t.test('GPUs of the first over those of the second, on average and at the peak', async (t) => {
  const list = [found('staged-elastic', 5, 20), found('mono-fixed', 40, 40), found('bound', 2, 10)];
  t.same(ratiosOf(list), [
    { what: 'staged-elastic relative to mono-fixed', from: 'mono-fixed', to: 'staged-elastic', mean: 8, peak: 2 },
  ]);
  t.same(ratiosOf([found('bound', 1, 1)]), []);
});
