// Proves that settings found on some workloads are no worse than the shipped defaults on others; the ten of the table
// in docs/planner.md are compared by tuned-main.ts.
import t from 'tap';
import { DEFAULT_SETTINGS } from '../../../src/ts/planner/fleet/builders.js';
import type { SimulationResult } from '../../../src/ts/planner/fleet/result.js';
import { tuneOver } from '../../../src/ts/planner/fleet/tuning.js';
import { compared, isNoWorse, known, others, QUANTILE } from './tuned.js';

void t.test('tuned on two, compared on three others', (t) => {
  const [day, bursts] = known();
  const { settings, relative } = tuneOver([day!.run, bursts!.run], QUANTILE, 0.01);
  t.ok(relative < 0.9, `${relative} where it was tuned`);
  for (const index of [0, 6, 8]) {
    const row = compared(others()[index]!, settings);
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
