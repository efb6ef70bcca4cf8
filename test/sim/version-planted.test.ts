// Proves that the simulation of versions finds defects: each one planted here is found within a bounded number of
// seeds, its seed shows the same failure again, and none is seen without it.
import t from 'tap';
import type { VersionsRecord } from '../../src/ts/cluster/release-records.js';
import * as versions from '../../src/ts/cluster/versions.js';
import { SeededChoices } from '../../src/ts/sim/choices.js';
import { plant } from './plant.js';
import { checkFound } from './planted-defect.js';
import { countNotTime } from './progress.js';
import { playVersions, versionShapeOf } from './version-run.js';

countNotTime();
Error.stackTraceLimit = 0;
const WITHIN = 30;

type Known = versions.KnownVersions;

/** Changes what is decided, or from what. */
function decided(
  change: (record: VersionsRecord, known: Known) => VersionsRecord,
  from: (known: Known) => Known = (known) => known,
): () => void {
  return plant(versions, 'nextVersions', (real) => (known: Known) => {
    const next = (real as unknown as typeof versions.nextVersions)(from(known));
    return next === undefined ? undefined : change(next, known);
  });
}

const PLANTED: { name: string; plant: () => () => void; seen: RegExp }[] = [
  {
    name: 'a version loses its places as soon as another one is current',
    plant: () => decided((record) => ({ ...record, draining: [] })),
    seen: /has lost/,
  },
  {
    name: 'a version is current though its places do not work',
    plant: () =>
      decided(
        (record) => record,
        (known) => {
          const states = Object.entries(known.states).map(([version, state]) => {
            return [version, { ...state, missing: undefined, broken: undefined }];
          });
          return { ...known, states: Object.fromEntries(states) as Known['states'] };
        },
      ),
    seen: /became current/,
  },
  {
    name: 'a version that hangs is waited for for ever',
    plant: () =>
      decided(
        (record) => record,
        (known) => ({ ...known, waitedMs: 0 }),
      ),
    seen: /is brought up/,
  },
];

for (const { name, plant: plantIt, seen } of PLANTED) {
  void t.test(`found: ${name}`, { timeout: 0 }, async (t) => {
    await checkFound(t, WITHIN, plantIt, seen, (seed) => playVersions(new SeededChoices(seed), versionShapeOf(seed)));
  });
}
