// Proves by properties what the controller decides, whatever happens in whatever order; and by cases what is refused,
// and how it goes on after a store that has forgotten.
import fc from 'fast-check';
import { isDeepStrictEqual } from 'node:util';
import t from 'tap';
import type { PlanRecord } from '../../src/ts/cluster/cluster-records.js';
import { reconcile } from '../../src/ts/cluster/reconcile.js';
import { checkSpec } from '../../src/ts/pipeline/index.js';
import { happenings, namesOf, plansOf, ReconcileWorld, SLEEPY } from './reconcile-world.js';

/** What is wrong with a decision; undefined: nothing. */
type Rule = (before: PlanRecord, after: PlanRecord, world: ReconcileWorld) => string | undefined;

const first = (problems: (string | false | undefined)[]): string | undefined =>
  problems.find((problem): problem is string => typeof problem === 'string');

const RULES: Record<string, Rule> = {
  'plans only move forward': (before, after) => {
    const [a, b] = [before.plan, after.plan];
    const numbers = plansOf(after).map(({ number }) => number);
    return first([
      a !== null && (b === null || b.number < a.number) && `plan ${a.number} is followed by ${b?.number}`,
      a !== null && a.number === b?.number && !isDeepStrictEqual(a, b) && `plan ${a.number} was changed`,
      numbers.some((number, i) => i > 0 && number <= numbers[i - 1]!) && `plans ${numbers} are in no order`,
    ]);
  },
  'epochs only grow, and each is of one place': (before, after) => {
    const epochs = Object.values(after.assignments).map(({ epoch }) => epoch);
    const changed = Object.entries(after.assignments).filter(
      ([name, assignment]) => !isDeepStrictEqual(assignment, before.assignments[name]),
    );
    return first([
      after.lastEpoch < before.lastEpoch && `epoch ${after.lastEpoch} follows ${before.lastEpoch}`,
      new Set(epochs).size !== epochs.length && `an epoch of two places: ${epochs}`,
      epochs.some((epoch) => epoch > after.lastEpoch) && `an epoch above the last, ${after.lastEpoch}`,
      ...changed.map(([name, { epoch }]) => epoch <= before.lastEpoch && `${name} has the old epoch ${epoch}`),
    ]);
  },
  'all places of plans are assigned, and no others': (_, after) => {
    const names = new Set(plansOf(after).flatMap(namesOf));
    const assigned = Object.keys(after.assignments);
    return isDeepStrictEqual(assigned.sort(), [...names].sort()) ? undefined : `${assigned} of ${[...names]}`;
  },
  'a place of a living node stays where it is': (before, after, world) =>
    first(
      Object.entries(before.assignments).map(([name, assignment]) => {
        const next = after.assignments[name];
        if (next === undefined || !world.isAlive(assignment)) return undefined;
        return (
          !isDeepStrictEqual(next, assignment) && `${name} moved from the living ${assignment.node} to ${next.node}`
        );
      }),
    ),
  'a place is assigned to agents that are there': (before, after, world) =>
    first(
      Object.entries(after.assignments).map(([name, assignment]) => {
        const isNew = !isDeepStrictEqual(assignment, before.assignments[name]);
        return isNew && !world.isAlive(assignment) && `${name} was given to the lost ${assignment.node}`;
      }),
    ),
  'no stage loses its last instance, unless none is wanted': (before, { plan }, world) => {
    const empty = plan?.instances.findIndex((list, i) => {
      return list.length === 0 && before.plan?.instances[i]?.length !== 0 && world.wanted['ab'[i]!] !== 0;
    });
    return (empty ?? -1) < 0 ? undefined : `plan ${plan!.number} has no instance of ${'ab'[empty!]}`;
  },
  'a stage that sleeps says how long it takes to start, and no other does': (_, { plan, startMs = {} }) => {
    const sleeping = plan?.instances.flatMap((list, i) => (list.length === 0 ? ['ab'[i]!] : [])) ?? [];
    return isDeepStrictEqual(Object.keys(startMs), sleeping) ? undefined : `${sleeping} sleep, ${Object.keys(startMs)}`;
  },
  'one change at a time, unless something is lost or fails': (before, after, world) => {
    if (after.plan === null || before.plan === null || after.plan.number === before.plan.number) return undefined;
    const older = before.olderPlans.filter((plan) => after.olderPlans.some(({ number }) => number === plan.number));
    const isLost = Object.values(before.assignments).some((assignment) => !world.isAlive(assignment));
    const isGatewayLost = before.plan.gateways.some((number) => !world.gateways.has(number));
    const isBack = world.liveGateways.some(
      ({ number, plans }) =>
        !before.plan!.gateways.includes(number) &&
        (plans.length > 0 || older.some(({ gateways }) => gateways.includes(number))),
    );
    if (older.length === 0 || isLost || isGatewayLost || isBack || after.refused !== null) return undefined;
    return `plan ${after.plan.number} began while requests are under plan ${older[0]!.number}`;
  },
  'an older plan goes when every gateway has let go of it': (before, after, world) => {
    const gone = plansOf(before).filter(({ number }) => plansOf(after).every((plan) => plan.number !== number));
    const kept = gone.find(({ number }) => world.liveGateways.some(({ plans }) => plans.includes(number)));
    if (kept !== undefined) return `plan ${kept.number} is gone, and a gateway has it`;
    const named = world.liveGateways.filter(({ number }) => before.plan?.gateways.includes(number));
    const isAdopted = named.every(({ plans }) => plans.includes(before.plan?.number ?? 0));
    if (gone.length > 0 && !isAdopted) return `plan ${gone[0]!.number} is gone before the next was adopted`;
    return undefined;
  },
  'lost are the places of older plans whose nodes are, or were once': (before, after, world) => {
    const newest = new Set(after.plan === null ? [] : namesOf(after.plan));
    const lost = Object.entries(after.assignments)
      .filter(([name, assignment]) => {
        return !newest.has(name) && (before.lost.includes(name) || !world.isAlive(assignment));
      })
      .map(([name]) => name)
      .sort();
    return isDeepStrictEqual(after.lost, lost) ? undefined : `lost are ${after.lost}, not ${lost}`;
  },
  'a place that was lost comes back under a newer epoch only': (before, after) => {
    const back = before.lost.find((name) => {
      const isSame = after.assignments[name]?.epoch === before.assignments[name]?.epoch;
      return isSame && after.assignments[name] !== undefined && !after.lost.includes(name);
    });
    return back === undefined ? undefined : `${back} came back as it was`;
  },
  'a wish that was refused is not tried again': (before, after, world) => {
    if (before.refused === null || before.plan === null || after.plan === null) return undefined;
    const isSame = before.refused.wanted === JSON.stringify(world.wanted);
    if (isSame !== isDeepStrictEqual(after.refused, before.refused) && isSame) return 'the refusal was forgotten';
    const { counts } = before.refused;
    const grew = after.plan.instances.some(
      (list, i) => list.length > Math.max(before.plan!.instances[i]!.length, counts['ab'[i]!]!),
    );
    return isSame && grew ? `plan ${after.plan.number} tries again` : undefined;
  },
  'deciding again changes nothing': (_, after, world) => {
    const again = reconcile(world.known(after)).get('clip');
    return again === undefined ? undefined : `${JSON.stringify(after)} becomes ${JSON.stringify(again)}`;
  },
};

void t.test('whatever happens, each decision keeps all rules', async (t) => {
  let decisions = 0;
  const property = fc.property(happenings, (list) => {
    const world = new ReconcileWorld();
    for (const happening of [undefined, ...list]) {
      if (happening !== undefined) world.happen(happening);
      const after = world.decide();
      if (after === undefined) continue;
      if (after === world.record) continue;
      const before = world.record ?? { ...after, plan: null, olderPlans: [], assignments: {}, lastEpoch: 0 };
      for (const [name, rule] of Object.entries(RULES)) {
        const problem = rule(before, after, world);
        if (problem !== undefined) throw new Error(`${name}: ${problem}`);
      }
      decisions++;
      world.record = after;
    }
  });
  fc.assert(property, { numRuns: 400 });
  t.ok(decisions > 600, `${decisions} decisions`);
});

void t.test('each happening is decided on: a lost node, an agent that was started again, a gateway', async (t) => {
  const world = new ReconcileWorld();
  const decide = () => world.follow();
  const begun = decide();
  t.equal(begun.plan?.number, 1);
  t.same(begun.plan?.instances, [[0, 1], [0]]);
  world.happen({ type: 'adopt', gateway: 0 });
  world.happen({ type: 'restart', node: 0 });
  const again = decide();
  t.equal(again.plan?.number, 1, 'places go on under their names');
  for (const [name, { node, epoch, run }] of Object.entries(begun.assignments)) {
    const now = again.assignments[name]!;
    if (node === 'node-0') t.ok(now.epoch > begun.lastEpoch && now.run !== run, `${name} is another process`);
    else t.same(now, { ...now, node, epoch, run });
  }
  world.happen({ type: 'kill', node: 0 });
  const moved = decide();
  t.ok(Object.values(moved.assignments).every(({ node }) => node === 'node-1'));
  t.equal(moved.plan?.number, 1);
  world.happen({ type: 'away', node: 1 });
  t.same(decide().assignments, moved.assignments, 'nowhere to go: they wait');
  world.happen({ type: 'node', node: 2 });
  const risen = decide();
  t.ok(namesOf(risen.plan!).every((name) => risen.assignments[name]!.node === 'node-2'));
  t.same(risen.lost, ['a/1'], 'what only the older plan has is given up');
  world.happen({ type: 'back', node: 1 });
  t.same(decide().lost, ['a/1'], 'for good');
  world.goOn(0);
  t.same(decide().plan?.instances[0]?.length, 2, 'and replaced, when nothing is under that plan');
  world.goOn(0);
  world.happen({ type: 'join', gateway: 1 });
  t.same(decide().plan?.gateways, [0, 1]);
});

void t.test('a newcomer that fails takes the change back, though a gateway has just adopted it', async (t) => {
  const world = new ReconcileWorld();
  const decide = () => world.follow();
  decide();
  world.happen({ type: 'adopt', gateway: 0 });
  world.happen({ type: 'scale', stage: 0, count: 3 });
  t.same(decide().plan?.instances, [[0, 1, 2], [0]]);
  world.breakPlace('a/2');
  const back = decide();
  t.equal(back.plan?.number, 3);
  t.same(back.plan?.instances, [[0, 1], [0]]);
  t.match(back.refused, { reason: 'it ends at once' });
  t.same(
    back.olderPlans.map(({ number }) => number),
    [1, 2],
    'plan 2 stays until the gateway has said that it is not under it',
  );
  world.goOn(0);
  t.same(decide().olderPlans, []);
  t.notOk('a/2' in world.record!.assignments);
  t.equal(decide().plan?.number, 3, 'the same wish is not tried again');
  world.happen({ type: 'scale', stage: 0, count: 4 });
  t.equal(decide().plan?.instances[0]?.length, 4, 'another one is');
});

void t.test('a stage that a change has woken goes on when the change is taken back for another stage', async (t) => {
  const world = new ReconcileWorld();
  const decide = () => world.follow();
  const gatewayGoesOn = () => {
    world.goOn(0);
    return decide();
  };
  decide();
  gatewayGoesOn();
  world.happen({ type: 'scale', stage: 1, count: 0 });
  decide();
  gatewayGoesOn();
  world.happen({ type: 'scale', stage: 0, count: 3 });
  world.happen({ type: 'scale', stage: 1, count: 1 });
  t.same(decide().plan?.instances, [[0, 1, 2], [0]]);
  world.breakPlace('a/2');
  const back = decide();
  t.same(back.plan?.instances, [[0, 1], [0]]);
  t.same(back.refused?.counts, { a: 2, b: 1 });
  t.notOk('startMs' in back, 'no stage sleeps');
  t.same(gatewayGoesOn().plan?.instances, [[0, 1], [0]]);
});

void t.test('a change is not taken back to what was lost meanwhile', async (t) => {
  const world = new ReconcileWorld();
  const decide = () => world.follow();
  decide();
  world.happen({ type: 'adopt', gateway: 0 });
  world.happen({ type: 'drain', node: 0 });
  t.same(decide().plan?.instances, [[1, 2], [1]], 'all go to node-1');
  world.happen({ type: 'away', node: 0 });
  t.same(decide().lost, ['a/0', 'b/0']);
  world.happen({ type: 'back', node: 0 });
  decide();
  world.breakPlace('a/2');
  const back = decide();
  t.same(back.plan?.instances, [[1], [1]]);
  t.same(back.lost, ['a/0', 'b/0']);
  t.match(back.refused, { reason: 'it ends at once', counts: { a: 2, b: 1 } });
  world.goOn(0);
  const { plan, assignments } = decide();
  t.equal(plan?.instances[0]?.length, 2, 'there is room for another one');
  t.ok(plan!.instances[0]!.every((instance) => assignments[`a/${instance}`]!.node === 'node-1'));
});

void t.test(
  'a gateway that was taken for lost and comes back has the next plan, though a change is under way',
  async (t) => {
    const world = new ReconcileWorld();
    const decide = () => world.follow();
    world.happen({ type: 'join', gateway: 1 });
    decide();
    for (const gateway of [0, 1]) world.happen({ type: 'adopt', gateway });
    world.happen({ type: 'die', gateway: 1 });
    t.same(decide().plan?.gateways, [0]);
    world.gateways.set(1, [1]);
    const next = decide();
    t.same(next.plan, { ...next.plan, number: 3, gateways: [0, 1] });
    t.same(
      next.olderPlans.map(({ number }) => number),
      [1, 2],
    );
  },
);

// Seed 12545 of the cluster simulation: the place that a request was at ended.
void t.test('a gateway that comes back under its number may have adopted an older plan that has it', async (t) => {
  const world = new ReconcileWorld();
  const decide = () => world.follow();
  world.happen({ type: 'join', gateway: 1 });
  decide();
  for (const gateway of [0, 1]) world.happen({ type: 'adopt', gateway });
  world.happen({ type: 'die', gateway: 1 });
  t.same(decide().plan?.gateways, [0]);
  world.goOn(0);
  world.gateways.set(1, []);
  const next = decide();
  t.same(next.plan, { ...next.plan, number: 3, gateways: [0, 1] });
  const numbers = next.olderPlans.map(({ number }) => number);
  t.same(numbers, [1, 2], 'plan 1 has it, and nobody knows yet whether it has adopted that');
  // It says that it has, goes on to the next one, and lets go.
  world.gateways.set(1, [1]);
  decide();
  for (const gateway of [0, 1]) world.happen({ type: 'adopt', gateway });
  for (const gateway of [0, 1]) world.happen({ type: 'letGo', gateway });
  t.same(decide().olderPlans, []);
});

void t.test('a gateway that joins during a change does not keep it from ending', async (t) => {
  const world = new ReconcileWorld();
  const decide = () => world.follow();
  decide();
  world.happen({ type: 'adopt', gateway: 0 });
  world.happen({ type: 'scale', stage: 0, count: 3 });
  t.equal(decide().plan?.number, 2);
  world.happen({ type: 'join', gateway: 1 });
  t.equal(decide().plan?.number, 2, 'one change at a time');
  world.goOn(0);
  const next = decide();
  t.same(next.plan, { ...next.plan, number: 3, gateways: [0, 1] });
});

void t.test('after a store that has forgotten, numbers and epochs go on above all that was seen', async (t) => {
  const world = new ReconcileWorld();
  world.record = world.decide();
  world.happen({ type: 'adopt', gateway: 0 });
  const known = world.known();
  const [app] = known.apps;
  const seen = { plan: 7, epochs: { 'a/0': 20, 'a/5': 31 } };
  const after = reconcile({ ...known, apps: [{ ...app!, seen }] }).get('clip')!;
  t.equal(after.plan?.number, 8);
  t.same(after.plan?.instances, world.record!.plan?.instances);
  t.ok(after.lastEpoch > 31);
  t.ok(after.assignments['a/0']!.epoch > 31, 'one of a higher epoch was there: it is another process');
  t.same(after.assignments['a/1'], world.record!.assignments['a/1'], 'others go on');
  t.same(reconcile({ ...known, apps: [{ ...app!, record: after, seen }] }).get('clip'), undefined);
});

void t.test(
  'a stage sleeps where none is wanted, and is woken, also where its instance does not start at once',
  (t) => {
    const world = new ReconcileWorld();
    const gatewayGoesOn = () => {
      world.goOn(0);
      return world.follow();
    };
    const stages = () => world.record!.plan!.instances.map((list) => list.length);
    world.follow();
    gatewayGoesOn();
    world.happen({ type: 'scale', stage: 1, count: 0 });
    t.strictSame(reconcile(world.known()).get('clip')!.startMs, { b: 0 });
    world.follow();
    t.strictSame(stages(), [2, 0]);
    gatewayGoesOn();
    t.strictSame(Object.keys(world.record!.assignments), ['a/0', 'a/1'], 'its place is forgotten when nobody uses it');
    // A gateway that comes makes a plan, and wakes nobody.
    world.happen({ type: 'join', gateway: 1 });
    world.follow();
    t.strictSame(stages(), [2, 0]);
    world.goOn(1);
    gatewayGoesOn();
    world.happen({ type: 'scale', stage: 1, count: 1 });
    world.follow();
    t.strictSame(stages(), [2, 1]);
    const { number } = world.record!.plan!;
    for (let place = 0; place < 3; place++) world.happen({ type: 'report', place, state: 'broken' });
    world.follow();
    t.equal(world.record!.plan!.number, number, 'there is nothing to go back to: it is tried on');
    t.equal(world.record!.refused, null);
    t.end();
  },
);

void t.test('a stage sleeps on where there is no room for it, and what else changes goes on', (t) => {
  const world = new ReconcileWorld();
  const known = (wanted: Record<string, number>, cores: number) => {
    const { apps, nodes } = world.known();
    const spec = checkSpec({
      ...SLEEPY,
      stages: SLEEPY.stages.map((stage) => ({ ...stage, resources: { cores: 1 } })),
    });
    const app = { ...apps[0]!.app, spec, wanted };
    return { apps: [{ ...apps[0]!, app }], nodes: nodes.slice(0, 1).map((node) => ({ ...node, cores })) };
  };
  world.record = reconcile(known({ a: 2, b: 1 }, 3)).get('clip')!;
  world.goOn(0);
  world.record = reconcile(known({ a: 2, b: 0 }, 3)).get('clip')!;
  t.strictSame(world.record.plan!.instances[1], []);
  world.goOn(0);
  world.record = reconcile(known({ a: 3, b: 0 }, 3)).get('clip')!;
  world.goOn(0);
  t.strictSame(
    world.record.plan!.instances.map((list) => list.length),
    [3, 0],
  );
  world.happen({ type: 'join', gateway: 1 });
  world.record = reconcile(known({ a: 3, b: 1 }, 0.5)).get('clip')!;
  t.strictSame(world.record.plan!.gateways, [0, 1]);
  t.strictSame(
    world.record.plan!.instances.map((list) => list.length),
    [3, 0],
  );
  t.match(world.record.unplaced.join(), /stage b/);
  t.end();
});
