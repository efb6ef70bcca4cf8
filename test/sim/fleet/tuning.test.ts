// Proves what a search for settings finds, on results that are functions of the settings.
import t from 'tap';
import type { SimulationResult } from '../../../src/ts/planner/fleet/result.js';
import { DEFAULT_SETTINGS, type Settings } from '../../../src/ts/planner/fleet/settings.js';
import { TUNABLE, tune } from '../../../src/ts/planner/fleet/tuning.js';

type Figures = Pick<SimulationResult, 'gpusMean' | 'gpusPeak' | 'inTime'> & { sloMet?: boolean };

function tuned(of: (settings: Settings) => Figures, keys = TUNABLE, margin = 0) {
  const run = (settings: Settings) => {
    const figures = of(settings);
    return { sloMet: figures.inTime >= 0.95, ...figures } as SimulationResult;
  };
  return tune(run, 0.95, margin, keys);
}

void t.test('headroom is traded for quicker decisions, though neither alone is better', async (t) => {
  const of = ({ quantile, evidence }: Settings): Figures => {
    const isLow = quantile < 0.9;
    // Quick decisions take more; less headroom holds the SLO with quick decisions only.
    return {
      gpusMean: 10 + (evidence < 12 ? 1 : 0) - (isLow ? 4 : 0),
      gpusPeak: 20,
      inTime: isLow && evidence === 12 ? 0.9 : 0.97,
    };
  };
  const { settings, result } = tuned(of, ['quantile', 'evidence', 'slack']);
  t.equal(result.gpusMean, 7);
  t.ok(settings.quantile < 0.9 && settings.evidence < 12, JSON.stringify(settings));
});

void t.test('the largest slack that holds with each quantile', async (t) => {
  const of = ({ quantile, slack }: Settings): Figures => {
    const load = slack * (1 - quantile);
    return { gpusMean: 10 - load, gpusPeak: 20, inTime: load > 1.1 ? 0.9 : 0.96 };
  };
  const { settings } = tuned(of, ['quantile', 'evidence', 'slack']);
  t.same([settings.quantile, settings.slack], [0.5, 2]);
});

void t.test('the most instances go down first, and leave half of what may be late to other settings', async (t) => {
  const seen: Settings[] = [];
  const of = (settings: Settings): Figures => {
    seen.push(settings);
    const { most, slack } = settings;
    return { gpusMean: 10 - slack, gpusPeak: 100 * most, inTime: (most < 0.5 ? 0.96 : 0.99) - slack / 200 };
  };
  const { settings } = tuned(of, ['most', 'slack']);
  t.equal(seen.find(({ slack }) => slack > 1)!.most, 0.5, '0.4 is in time, but too close to the limit');
  t.equal(settings.slack, 4);
  t.equal(settings.most, 0.5, 'at the end even fewer would be too late');
});

void t.test(
  'at the end the peak goes down as far as the SLO holds, also past a part that costs too much',
  async (t) => {
    const of = ({ most }: Settings): Figures => {
      const costsMore = most < 1 && most > 0.6;
      return { gpusMean: costsMore ? 12 : 10, gpusPeak: 100 * most, inTime: most < 0.28 ? 0.94 : 0.96 };
    };
    const { settings, result } = tuned(of, ['most']);
    t.ok(settings.most >= 0.28 && settings.most < 0.4, `${settings.most}`);
    t.ok(result.gpusPeak < 40);
  },
);

void t.test('while nothing holds the SLO, what comes nearer stays', async (t) => {
  const { settings, runs } = tuned(({ evidence }) => ({ gpusMean: 1, gpusPeak: 1, inTime: 0.5 - evidence / 100 }));
  t.equal(settings.evidence, 3);
  t.equal(settings.most, DEFAULT_SETTINGS.most);
  t.ok(runs < 40, `${runs} runs`);
});

void t.test('a margin is held too, and settings without a key stay', async (t) => {
  const of = ({ slack }: Settings): Figures => ({ gpusMean: 10 - slack, gpusPeak: 1, inTime: 0.99 - slack / 100 });
  t.equal(tuned(of, ['slack'], 0.02).settings.slack, 2);
  t.equal(tuned(of, ['slack'], 0).settings.slack, 4);
  t.equal(tuned(of, ['evidence']).settings.slack, 1);
});

void t.test('one setting after the other is taken where that is better, and every settings runs once', async (t) => {
  const seen = new Set<string>();
  const of = (settings: Settings): Figures => {
    t.notOk(seen.has(JSON.stringify(settings)), 'once');
    seen.add(JSON.stringify(settings));
    const { quantile, slack } = settings;
    return { gpusMean: 10 - slack + (quantile < 0.99 ? 3 : 0), gpusPeak: 20, inTime: 0.96 };
  };
  const { settings, result, runs } = tuned(of, ['quantile', 'evidence', 'slack']);
  t.same([settings.quantile, settings.slack, result.gpusMean], [0.99, 4, 6], 'the edge has 0.5 for each slack');
  t.equal(runs, seen.size);
});

void t.test('of about as many GPUs on average, those with fewer at the peak', async (t) => {
  const of = ({ quantile, slack, evidence }: Settings): Figures => {
    const isEdge = quantile === 0.5 && slack === 4 && evidence === 12;
    const isSingle = quantile === 0.99 && slack === 4;
    return { gpusMean: isEdge ? 6.1 : isSingle ? 6 : 10, gpusPeak: isEdge ? 15 : 20, inTime: 0.96 };
  };
  t.equal(tuned(of, ['quantile', 'evidence', 'slack']).result.gpusPeak, 15);
});

void t.test('settings that refuse more than may be refused are not taken, though enough is in time', async (t) => {
  const of = ({ slack, most }: Settings): Figures => {
    return { gpusMean: 10 - slack + most, gpusPeak: 20, inTime: 0.97, sloMet: slack < 4 && most >= 0.8 };
  };
  const { settings, result } = tuned(of, ['most', 'slack']);
  t.ok(result.sloMet);
  t.equal(settings.slack, 2, 'with 4 too many are refused');
  t.ok(settings.most >= 0.8, `${settings.most}`);
});
