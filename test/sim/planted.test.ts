// Proves that the simulation finds defects: each one planted here is found within a bounded number of seeds, and its
// seed shows the same failure again; and that none is seen without it.
import t from 'tap';
import { Connection } from '../../src/ts/ring/connection.js';
import { Inbox } from '../../src/ts/ring/inbox.js';
import { Lane } from '../../src/ts/ring/lane.js';
import { Outbox } from '../../src/ts/ring/outbox.js';
import { Retained } from '../../src/ts/ring/retained.js';
import { Session } from '../../src/ts/ring/session.js';
import { EnumeratedChoices, ListedChoices, SeededChoices } from '../../src/ts/sim/choices.js';
import type { DeviceFlaw } from '../../src/ts/sim/world.js';
import { SMALL_CASES } from './cases.js';
import { play } from './ring-run.js';
import { type Shape, shapeOf } from './shape.js';

Error.stackTraceLimit = 0;
const WITHIN = 3000;

type Method = (this: never, ...args: never[]) => unknown;

/** Puts another method in the place of one; answers how to take that back. */
function plant(owner: object, name: string, make: (original: Method) => unknown): () => void {
  const methods = owner as Record<string, unknown>;
  const original = methods[name];
  if (typeof original !== 'function') throw new Error(`${name} is no method: the defect must be planted elsewhere`);
  methods[name] = make(original as Method);
  return () => {
    methods[name] = original;
  };
}

const nothing = () => {};
const withFlaw = (seed: number, flaw: DeviceFlaw | undefined): Shape => ({
  ...shapeOf(seed),
  ...(flaw === undefined ? {} : { flaw }),
});

interface Planted {
  name: string;
  flaw?: DeviceFlaw;
  plant?: () => () => void;
  /** What is seen of it. */
  seen: RegExp;
}

const planted: Planted[] = [
  { name: 'a descriptor overtakes its payload', flaw: 'requests-reordered', seen: /has other bytes than were sent/ },
  {
    name: 'destroying a queue pair does not end its peer',
    flaw: 'close-leaves-connection',
    seen: /two writers|lane that was fenced/,
  },
  { name: 'nobody polls again after arming', flaw: 'blind-after-arming', seen: /^deadlock/ },
  {
    name: 'a fence revokes nothing',
    plant: () =>
      plant(
        Lane.prototype,
        'fence',
        () =>
          function (this: { fenced: boolean; session: { onMoved: unknown } }) {
            this.fenced = true;
            this.session.onMoved = undefined;
            return true;
          },
      ),
    seen: /lane that was fenced|two writers/,
  },
  {
    name: 'what was written before is not written again after a reconnect',
    plant: () =>
      plant(
        Outbox.prototype,
        'begin',
        (original) =>
          function (this: { reached: number }, connection: { sent: number }) {
            connection.sent = this.reached;
            return original.call(this as never, connection as never);
          },
      ),
    seen: /^deadlock|came after|begins with/,
  },
  {
    name: 'one message too many counts as acknowledged',
    plant: () =>
      plant(
        Session.prototype,
        'acknowledge',
        (original) =>
          function (this: never, sequence: number) {
            return original.call(this, sequence as never) || original.call(this, (sequence + 1) as never);
          },
      ),
    seen: /counts as acknowledged and is not/,
  },
  {
    name: 'space is given back before it is released',
    plant: () =>
      plant(
        Lane.prototype,
        'release',
        (original) =>
          function (this: { releasedFlags: Uint8Array }, sequence: number) {
            this.releasedFlags.fill(1);
            return original.call(this as never, sequence as never);
          },
      ),
    seen: /changed while it was held|has other bytes/,
  },
  {
    name: 'a slot is used without credit',
    plant: () =>
      plant(
        Connection.prototype,
        'fill',
        (original) =>
          function (this: { released: number; sent: number }, ...args: never[]) {
            const { released } = this;
            this.released = Math.min(this.sent, released + 1);
            const added = original.call(this as never, ...args);
            this.released = released;
            return added;
          },
      ),
    seen: /^deadlock|found no receive|changed while|has other bytes/,
  },
  {
    name: 'more is retained than there is room for',
    plant: () =>
      plant(
        Retained.prototype,
        'fits',
        (original) =>
          function (this: { acknowledged: number; last: number }, ...args: never[]) {
            const { acknowledged } = this;
            this.acknowledged = Math.min(this.last, acknowledged + 1);
            const fits = original.call(this as never, ...args);
            this.acknowledged = acknowledged;
            return fits;
          },
      ),
    seen: /holds more than it may|has other bytes/,
  },
  {
    name: 'the inbox forgets what it has delivered',
    plant: () => plant(Inbox.prototype, 'remember', () => nothing),
    seen: /came after/,
  },
  {
    name: 'a report is waited for that has arrived',
    plant: () => plant(Lane.prototype, 'controlSent', () => nothing),
    seen: /^deadlock/,
  },
];

for (const { name, flaw, plant: put, seen } of planted) {
  void t.test(`found: ${name}`, { timeout: 0 }, async (t) => {
    const takeBack = put?.();
    try {
      let found: { seed: number; broken: string[] } | undefined;
      for (let seed = 1; seed <= WITHIN && found === undefined; seed++) {
        const { broken } = await play(new SeededChoices(seed), withFlaw(seed, flaw));
        if (broken.length > 0) found = { seed, broken };
      }
      t.ok(found, `within ${WITHIN} seeds`);
      if (found === undefined) return;
      t.match(found.broken[0], seen);
      const again = await play(new SeededChoices(found.seed), withFlaw(found.seed, flaw));
      t.strictSame(again.broken, found.broken, `seed ${found.seed} shows it again`);
      takeBack?.();
      const without = await play(new SeededChoices(found.seed), shapeOf(found.seed));
      t.strictSame(without.broken, [], 'and nothing without it');
    } finally {
      takeBack?.();
    }
  });
}

void t.test('a list of choices repeats the run that has printed it', async (t) => {
  const small = SMALL_CASES.find(({ name }) => name === 'fault-on-card')!;
  const choices = new EnumeratedChoices(small.limits);
  const shape: Shape = { ...small.shape, flaw: 'close-leaves-connection' };
  let verdict = await play(choices, shape);
  while (verdict.broken.length === 0 && choices.next()) verdict = await play(choices, shape);
  t.match(verdict.broken[0], /lane that was fenced|two writers/);
  const text = choices.replay.replace('--choices ', '');
  t.match(text, /^\d+:\d+/);
  t.strictSame(await play(new ListedChoices(text, small.limits), shape), verdict);
  t.strictSame((await play(new ListedChoices(text, small.limits), small.shape)).broken, []);
});

void t.test('the same seed gives the same run', async (t) => {
  for (const seed of [7, 1382, 2 ** 40 + 3]) {
    const first = await play(new SeededChoices(seed), shapeOf(seed));
    t.ok(first.steps > 20);
    t.strictSame(await play(new SeededChoices(seed), shapeOf(seed)), first);
  }
});
