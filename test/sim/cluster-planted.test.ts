// Proves that the simulation of clusters finds defects: each one planted here is found within a bounded number of
// seeds, its seed shows the same failure again, and none is seen without it.
import t from 'tap';
import type { PlanRecord } from '../../src/ts/cluster/cluster-records.js';
import * as reconciling from '../../src/ts/cluster/reconcile.js';
import { SeededChoices } from '../../src/ts/sim/choices.js';
import { clusterShapeOf, playCluster } from './cluster-run.js';
import { SimControlStore } from './control-store.js';
import { plant } from './plant.js';
import { checkFound } from './planted-defect.js';
import { countNotTime } from './progress.js';

countNotTime();
Error.stackTraceLimit = 0;
const WITHIN = 200;

/** Changes what is decided. */
function decided(change: (record: PlanRecord, known: reconciling.KnownApp) => PlanRecord): () => void {
  return plant(reconciling, 'reconcile', (real) => (known: reconciling.KnownCluster) => {
    const records = (real as unknown as typeof reconciling.reconcile)(known);
    return new Map(
      [...records].map(([name, record]) => [name, change(record, known.apps.find(({ app }) => app.name === name)!)]),
    );
  });
}

const PLANTED: { name: string; plant: () => () => void; seen: RegExp }[] = [
  {
    name: 'older plans are let go of at once',
    plant: () =>
      decided((record) => {
        const names = new Set(record.plan?.instances.flatMap((list, i) => list.map((n) => `${'ab'[i]}/${n}`)));
        const kept = Object.entries(record.assignments).filter(([name]) => names.has(name));
        return { ...record, olderPlans: [], assignments: Object.fromEntries(kept), lost: [] };
      }),
    seen: /has requests under plan|is under|is not assigned|does not run/,
  },
  {
    name: 'a place that moves keeps its epoch',
    plant: () =>
      decided((record, { record: before }) => {
        const kept = Object.entries(record.assignments).map(([name, assignment]) => {
          return [name, { ...assignment, epoch: before?.assignments[name]?.epoch ?? assignment.epoch }];
        });
        return { ...record, assignments: Object.fromEntries(kept) };
      }),
    seen: /runs twice/,
  },
  {
    name: 'a write does not look at the revision',
    plant: () =>
      plant(SimControlStore.prototype, 'put', (real) => {
        return function (this: SimControlStore, key: never, value: never) {
          return real.call(this as never, key, value, {} as never);
        } as never;
      }),
    seen: /went back|was changed|two leaders act|runs twice/,
  },
];

for (const { name, plant: plantIt, seen } of PLANTED) {
  void t.test(`found: ${name}`, { timeout: 0 }, async (t) => {
    await checkFound(t, WITHIN, plantIt, seen, (seed) => playCluster(new SeededChoices(seed), clusterShapeOf(seed)));
  });
}
