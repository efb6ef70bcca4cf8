// Proves that settings found on some workloads are no worse than the shipped defaults on others; the ten of the table
// in docs/planner.md are compared by tuned-main.ts.
import t from 'tap';
import { DEFAULT_SETTINGS } from '../../../src/ts/planner/fleet/settings.js';
import type { SimulationResult } from '../../../src/ts/planner/fleet/result.js';
import { tuneOver } from '../../../src/ts/planner/fleet/tuning.js';
import { compared, isNoWorse, known, others, QUANTILE } from './tuned.js';

void t.test('tuned on two, with long and with short tasks, compared on two others', (t) => {
  // Decisions take effect at once here: with delays the gain does not carry over to every other workload.
  const [, long, short] = known(null);
  const { settings, relative } = tuneOver([long!.run, short!.run], QUANTILE, 0.01, ['downAfterLoads', 'evidence']);
  t.ok(relative < 0.95, `${relative} where it was tuned`);
  for (const index of [2, 8]) {
    const row = compared(others(null)[index]!, settings);
    t.ok(isNoWorse(row), JSON.stringify(row));
  }
  t.end();
});

void t.test('the defaults stay where nothing is gained, or what is gained costs the SLO', (t) => {
  const result = (gpusMean: number, inTime: number) => ({ gpusMean, inTime }) as SimulationResult;
  const isDefault = (settings: object) => settings === DEFAULT_SETTINGS;
  const noise = tuneOver([(settings) => result(isDefault(settings) ? 10 : 9.9, 0.99)], 0.95, 0.01);
  t.equal(noise.settings, DEFAULT_SETTINGS);
  const late = tuneOver([(settings) => (isDefault(settings) ? result(10, 0.99) : result(1, 0.955))], 0.95, 0.01);
  t.equal(late.settings, DEFAULT_SETTINGS);
  t.end();
});
