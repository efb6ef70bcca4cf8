// Proves that what becomes of an app's versions keeps its rules over random histories: one current version, never
// backwards, always a way back, and the same whoever leads.
import fc from 'fast-check';
import t from 'tap';
import {
  appOf,
  liveVersions,
  MAX_PAST,
  type Release,
  type VersionCode,
  versionOf,
  type VersionsRecord,
} from '../../src/ts/cluster/release-records.js';
import { nextVersions, rollbackTarget, versionEvents, type VersionState } from '../../src/ts/cluster/versions.js';
import { SPEC } from './reconcile-world.js';

const NAMES = ['v1', 'v2', 'v3', 'v4', 'v5'];
const READY_MS = 1000;

const codeOf = (version: string, module = `/${version}.js`): VersionCode => ({
  module,
  hash: String(NAMES.indexOf(version) + 1).repeat(64),
  spec: SPEC,
  sizes: {} as never,
});

type Happening =
  | { readonly type: 'deploy' | 'works' | 'breaks'; readonly version: string }
  | { readonly type: 'gateways'; readonly version: string; readonly count: number }
  | { readonly type: 'rollback' | 'other' }
  | { readonly type: 'time'; readonly ms: number };

const version = fc.constantFrom(...NAMES);
const happenings: fc.Arbitrary<Happening[]> = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ type: fc.constant('deploy' as const), version }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constantFrom('rollback' as const, 'other' as const) }) },
    { weight: 5, arbitrary: fc.record({ type: fc.constant('works' as const), version }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('breaks' as const), version }) },
    { weight: 4, arbitrary: fc.record({ type: fc.constant('gateways' as const), version, count: fc.nat(2) }) },
    { weight: 2, arbitrary: fc.record({ type: fc.constant('time' as const), ms: fc.integer({ min: 1, max: 1500 }) }) },
  ),
  { minLength: 5, maxLength: 60 },
);

class World {
  record: VersionsRecord | undefined;
  release: Release | undefined;
  readonly states = new Map<string, VersionState>();
  private waitedMs = 0;

  order(
    version: string,
    kind: Release['kind'] = 'deploy',
    code = this.record?.codes[version] ?? codeOf(version),
  ): void {
    const number = (this.release?.number ?? 0) + 1;
    this.release = { number, kind, version, code, readyWithinMs: READY_MS, counts: {} };
  }

  set(version: string, change: Partial<VersionState>): void {
    const known = this.states.get(version) ?? { hasPlan: false, gateways: 0, missing: 'x', broken: undefined };
    this.states.set(version, { ...known, ...change });
  }

  happen(happening: Happening): void {
    const { type } = happening;
    if (type === 'deploy') this.order(happening.version);
    else if (type === 'rollback') {
      const target = this.record === undefined ? undefined : rollbackTarget(this.record);
      if (target !== undefined) this.order(target, 'rollback');
    } else if (type === 'other') this.order('v1', 'deploy', codeOf('v1', '/other.js'));
    else if (type === 'works') this.set(happening.version, { hasPlan: true, missing: undefined, broken: undefined });
    else if (type === 'breaks') this.set(happening.version, { missing: 'a/0', broken: 'a/0 ends at once' });
    else if (type === 'gateways') this.set(happening.version, { gateways: happening.count });
    else if (happening.type === 'time') this.waitedMs += happening.ms;
  }

  decide(record = this.record): VersionsRecord | undefined {
    const live = record === undefined ? [] : liveVersions(record);
    const states = Object.fromEntries([...this.states].filter(([name]) => live.includes(name)));
    return nextVersions({ release: this.release, record, states, waitedMs: this.waitedMs });
  }

  follow(): void {
    const before = this.record;
    this.record = this.decide();
    if (this.record?.next?.release !== before?.next?.release) this.waitedMs = 0;
    // A version that has no places any more starts from nothing.
    const live = this.record === undefined ? [] : liveVersions(this.record);
    for (const name of [...this.states.keys()]) if (!live.includes(name)) this.states.delete(name);
  }
}

function check(before: VersionsRecord | undefined, world: World): void {
  const { record: after, release } = world;
  const fail = (words: string) => {
    throw new Error(`${words}: ${JSON.stringify({ before, after, release })}`);
  };
  if (after === undefined) {
    if (before !== undefined) fail('the record is gone');
    return;
  }
  if (after.release !== release!.number) fail('the release was not taken up');
  if ((before?.release ?? 0) > after.release) fail('it went back');
  if (after.current === null) fail('nothing is current');
  const live = liveVersions(after);
  if (new Set(live).size !== live.length) fail('a version has two roles');
  for (const name of [...live, ...after.past]) if (after.codes[name] === undefined) fail(`the code of ${name} is gone`);
  if (Object.keys(after.codes).length !== new Set([...live, ...after.past]).size) fail('more is kept than needed');
  if (after.past.includes(after.current!)) fail('the current one is past');
  if (before?.current != null && before.current !== after.current) {
    const former = before.current;
    if (after.past[0] !== former) fail('there is no way back to the former one');
    if (rollbackTarget({ ...after, next: null }) !== former) fail('a rollback goes elsewhere');
    if (before.next?.version !== after.current && release!.version !== after.current) fail('nobody wanted it');
    if ((world.states.get(former)?.gateways ?? 0) > 0 && !live.includes(former)) fail('requests lost their places');
  }
  for (const name of before === undefined ? [] : liveVersions(before))
    if (!live.includes(name) && (world.states.get(name)?.gateways ?? 0) > 0) fail(`${name} lost its places`);
  if (JSON.stringify(world.decide()) !== JSON.stringify(after)) fail('deciding again is something else');
}

void t.test('random histories keep the rules, whoever decides', async () => {
  fc.assert(
    fc.property(happenings, (list) => {
      const world = new World();
      for (const happening of list) {
        world.happen(happening);
        const before = world.record;
        // One that leads died before its write: the next one decides the same.
        const first = world.decide();
        const again = world.decide();
        if (JSON.stringify(first) !== JSON.stringify(again)) throw new Error('two leaders decide differently');
        const states = new Map(world.states);
        world.follow();
        for (const [name, state] of states) world.states.set(name, state);
        check(before, world);
        const live = world.record === undefined ? [] : liveVersions(world.record);
        for (const name of [...world.states.keys()]) if (!live.includes(name)) world.states.delete(name);
      }
    }),
    { numRuns: 2000 },
  );
});

void t.test('every release has one outcome at the end', async () => {
  fc.assert(
    fc.property(happenings, (list) => {
      const world = new World();
      const outcomes = new Map<number, string>();
      for (const happening of list) {
        world.happen(happening);
        world.follow();
        for (const { release, type } of world.record?.outcomes ?? []) {
          if (outcomes.has(release) && outcomes.get(release) !== type)
            throw new Error(`release ${release} has two ends`);
          outcomes.set(release, type);
        }
      }
      const coming = world.record?.next?.release;
      for (let number = 1; number <= (world.release?.number ?? 0); number++)
        if (outcomes.has(number) === (number === coming)) throw new Error(`release ${number} of ${coming} has no end`);
    }),
    { numRuns: 1000 },
  );
});

function deployed(): World {
  const world = new World();
  world.order('v1');
  world.follow();
  world.set('v1', { hasPlan: true, missing: undefined, gateways: 1 });
  world.follow();
  return world;
}

void t.test(
  'a version becomes current when it works, and the former one is emptied after its last gateway',
  async (t) => {
    const world = deployed();
    t.match(world.record, { current: 'v1', next: null });
    world.order('v2');
    world.follow();
    t.match(world.record, { current: 'v1', next: { version: 'v2', release: 2 } });
    world.set('v2', { hasPlan: true, gateways: 1, missing: 'b/0 on node a is starting' });
    world.follow();
    t.equal(world.record!.current, 'v1');
    world.set('v2', { missing: undefined });
    const before = world.record;
    world.follow();
    t.match(world.record, { current: 'v2', next: null, draining: ['v1'], past: ['v1'] });
    t.same(
      versionEvents('clip', before, world.record).map(({ type }) => type),
      ['switched'],
    );
    world.set('v1', { gateways: 0 });
    world.follow();
    t.match(world.record, { draining: [], past: ['v1'], codes: { v1: { module: '/v1.js' } } });
  },
);

void t.test('a version that does not work is taken back, with the reason', async (t) => {
  for (const [change, reason] of [
    [{ broken: 'b/0 on node a: it ends at once' }, /^b\/0 on node a/],
    [{}, /^not ready within 1000 ms: b\/0 is starting$/],
  ] as const) {
    const world = deployed();
    world.order('v2');
    world.follow();
    world.set('v2', { hasPlan: true, gateways: 1, missing: 'b/0 is starting', ...change });
    if (!('broken' in change)) {
      world.happen({ type: 'time', ms: 999 });
      world.follow();
      t.equal(world.record!.next?.version, 'v2', 'it has its time');
      world.happen({ type: 'time', ms: 1 });
    }
    const before = world.record;
    world.follow();
    t.match(world.record, { current: 'v1', next: null, draining: ['v2'], past: [] });
    t.match(world.record!.outcomes.at(-1), { release: 2, version: 'v2', type: 'rolled-back', reason });
    t.match(versionEvents('clip', before, world.record), [
      { type: 'rolled-back', version: 'v2', words: reason.source.includes('ready') ? /not ready/ : /it ends at once/ },
    ]);
    world.set('v2', { gateways: 0 });
    world.follow();
    t.same(Object.keys(world.record!.codes), ['v1'], 'it is forgotten');
  }
});

void t.test('another release comes before a version is ready', async (t) => {
  const world = deployed();
  world.order('v2');
  world.follow();
  world.set('v2', { gateways: 1 });
  world.order('v3');
  world.follow();
  t.match(world.record, { current: 'v1', next: { version: 'v3' }, draining: ['v2'] });
  t.match(world.record!.outcomes.at(-1), { release: 2, type: 'superseded', reason: /release 3/ });
  t.equal(rollbackTarget(world.record!), 'v1', 'a rollback gives it up');
  world.order('v1', 'rollback');
  world.follow();
  t.match(world.record, { current: 'v1', next: null });
  t.match(world.record!.outcomes.at(-1), { release: 4, version: 'v1', type: 'current' });
});

void t.test('where nobody is connected, nothing is waited for', async (t) => {
  const world = new World();
  world.order('v1');
  world.follow();
  world.order('v2');
  world.follow();
  world.follow();
  t.match(world.record, { current: 'v2', past: ['v1'] });
  t.match(world.record!.outcomes.at(-1), { type: 'current', reason: /no gateway/ });
});

void t.test('a bounded number of versions is remembered, and names stand for one code', async (t) => {
  const world = new World();
  for (let i = 0; i < 2 * MAX_PAST; i++) {
    world.order(`x${i}`, 'deploy', { ...codeOf('v1'), module: `/x${i}.js` });
    world.follow();
    world.follow();
  }
  t.equal(world.record!.past.length, MAX_PAST);
  t.equal(Object.keys(world.record!.codes).length, MAX_PAST + 1);
  const { current } = world.record!;
  world.order(world.record!.past[0]!, 'deploy', codeOf('v2'));
  world.follow();
  t.equal(world.record!.current, current);
  t.match(world.record!.outcomes.at(-1), { type: 'rolled-back', reason: /other code already/ });
});

void t.test('an app that is removed has no record', async (t) => {
  const world = deployed();
  const before = world.record;
  world.release = undefined;
  world.follow();
  t.equal(world.record, undefined);
  t.match(versionEvents('clip', before, undefined), [{ type: 'undeployed' }]);
});

void t.test('names and counts of the apps below', async (t) => {
  t.same(versionOf('a=b=v1'), { app: 'a=b', version: 'v1' });
  t.equal(versionOf('clip'), undefined);
  t.equal(versionOf('clip='), undefined);
  t.match(appOf('clip', 'v1', codeOf('v1'), { a: 5, z: 9 }), { name: 'clip=v1', wanted: { a: 5, b: 1 } });
});
