// Proves that the simulation finds defects of the control plane: each one planted here is found within a bounded number
// of seeds, its seed shows the same failure again, and none is seen without it.
import t from 'tap';
import { Holding } from '../../src/ts/control/holding.js';
import { Members } from '../../src/ts/control/members.js';
import { View } from '../../src/ts/control/view.js';
import { SeededChoices } from '../../src/ts/sim/choices.js';
import { controlShapeOf, playControl } from './control-run.js';
import { SimControlStore } from './control-store.js';
import { checkFound } from './planted-defect.js';
import { countNotTime } from './progress.js';

countNotTime();
Error.stackTraceLimit = 0;
const WITHIN = 400;

type Methods = Record<string, (...args: never[]) => unknown>;

/** Puts another method in the place of one; answers what takes that back. */
function replace(
  type: { prototype: object },
  name: string,
  make: (real: Methods[string]) => Methods[string],
): () => void {
  const methods = type.prototype as Methods;
  const real = methods[name]!;
  methods[name] = make(real);
  return () => {
    methods[name] = real;
  };
}

const PLANTED: { name: string; plant: () => () => void; seen: RegExp }[] = [
  {
    name: 'a holder goes on for a tenth longer than its lease',
    plant: () =>
      replace(Holding, 'isHeld', () => {
        return function (this: { reason: Holding['reason']; endMs: Holding['endMs']; timers: Holding['timers'] }) {
          return this.reason === undefined && this.timers.now() < this.endMs + 600;
        };
      }),
    seen: /two leaders act/,
  },
  {
    name: 'others wait for half a lease only',
    plant: () =>
      replace(
        View,
        'unchangedMs',
        (real) =>
          function (this: View, key: never) {
            return 2 * (real.call(this, key) as number);
          },
      ),
    seen: /two leaders act|was displaced|was lost to/,
  },
  {
    name: 'time counts while the store is away, or has forgotten',
    plant: () =>
      replace(
        View,
        'unchangedMs',
        () =>
          function (
            this: {
              sightings: View['sightings'];
              removedMs: View['removedMs'];
              lastSeenMs: View['lastSeenMs'];
              syncs: View['syncs'];
            },
            ...args: never[]
          ) {
            const sinceMs = this.sightings.get(String(args[0]))?.sinceMs ?? this.removedMs;
            return this.syncs === 0 ? 0 : this.lastSeenMs - sinceMs;
          },
      ),
    seen: /two leaders act|was displaced|was lost to/,
  },
  {
    name: 'a write does not look at the revision',
    plant: () =>
      replace(
        SimControlStore,
        'put',
        (real) =>
          function (this: SimControlStore, ...args: never[]) {
            return real.call(this, args[0] as never, args[1] as never, {} as never);
          },
      ),
    seen: /went back|two leaders act|was displaced|term \d+ (follows|was given)/,
  },
  {
    name: 'a member is lost without a question',
    plant: () =>
      replace(
        Members,
        'check',
        () =>
          async function (this: Methods & { known: Map<string, unknown> }) {
            for (const [key, known] of [...this.known])
              if ((this.leftMs!(key as never, known as never) as number) <= 1500)
                this.end!(key as never, known as never);
          },
      ),
    seen: /was lost to|sees /,
  },
];

for (const { name, plant, seen } of PLANTED) {
  void t.test(`found: ${name}`, { timeout: 0 }, async (t) => {
    await checkFound(t, WITHIN, plant, seen, (seed) => playControl(new SeededChoices(seed), controlShapeOf(seed)));
  });
}
