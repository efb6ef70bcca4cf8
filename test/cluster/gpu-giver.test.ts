// Proves that a gift of GPUs is in the store before it counts, that another leader goes on from it, and that nobody
// acts on a record that cannot be used or that somebody else has changed.
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { ClusterEvents, listClusterEvents, replayEvents } from '../../src/ts/cluster/index.js';
import {
  type App,
  APPS,
  asJson,
  GATEWAYS,
  gatewayKey,
  NODES,
  PLANS,
  type PlanRecord,
  SCALES,
} from '../../src/ts/cluster/cluster-records.js';
import { Controller } from '../../src/ts/cluster/controller.js';
import { GpuGiver, GPUS } from '../../src/ts/cluster/gpu-giver.js';
import { gpuPolicyOf } from '../../src/ts/cluster/gpu-policy.js';
import { demandsOf, type GpuWorld } from '../../src/ts/cluster/gpu-demand.js';
import { giveGpus } from '../../src/ts/cluster/gpu-giving.js';
import type { KnownApp } from '../../src/ts/cluster/reconcile.js';
import { firstMemory } from '../../src/ts/cluster/scale-feed.js';
import { Troubles } from '../../src/ts/cluster/troubles.js';
import {
  Election,
  memoryControlStore,
  MemoryRecords,
  Members,
  readFenced,
  systemControlPort,
} from '../../src/ts/control/index.js';
import { checkSpec, makePlan } from '../../src/ts/pipeline/index.js';
import { becomes } from '../control/support.js';
import { waiting } from '../until.js';
import { DEFAULT_GPU_MOVES, firstState, NO_GPU_STATE } from '../../src/ts/planner/index.js';

const until = waiting({ limitMs: 30_000, pause: () => sleep(10) });

const INVALID = { code: 'RDMA_ERR_INVALID_ARGUMENT' };
const gpus = Array.from({ length: 4 }, () => ({ memoryBytes: 2 ** 36 }));
const nodes = [{ name: 'n', host: 'n', cores: 16, memoryBytes: 2 ** 40, gpus, run: 'r' }];
const TASK_MS = 1000;

function knownApp(name: string, wanted: number, own: readonly number[]): KnownApp {
  const scale = { min: 1, max: 8, sloMs: 3 * TASK_MS, quantile: 0.95 };
  const spec = checkSpec({ name, stages: [{ name: 'work', scale, resources: { gpus: 1 } }] });
  const app: App = { name, module: '/m.js', hash: 'a'.repeat(64), spec, sizes: {} as never, wanted: { work: wanted } };
  const plan = makePlan(spec, 1, [own.map((_, i) => i)], [0]);
  const assignments = Object.fromEntries(
    own.map((gpu, i) => [`work/${i}`, { node: 'n', run: 'r', epoch: i + 1, gpus: [gpu] }]),
  );
  const record: PlanRecord = { plan, olderPlans: [], assignments, lastEpoch: 9, lost: [], unplaced: [], refused: null };
  return { app, record, gateways: [], reports: {}, seen: { plan: 1, epochs: {} } };
}

/** `one` has three GPUs and little to do, `two` has one and much. */
function worldOf(busy: 'one' | 'two'): GpuWorld {
  const apps = [knownApp('one', 3, [0, 1, 2]), knownApp('two', 4, [3])];
  const scaledOf: GpuWorld['scaledOf'] = ({ name }) => {
    const state = firstState(0);
    const rate = (name === busy ? 3.5 : 0.2) / TASK_MS;
    const arrivals = { ...state.arrivals, planned: rate };
    return { memory: { ...firstMemory(1, 0), state: { ...state, arrivals, serviceMs: TASK_MS } }, queued: 0 };
  };
  return { apps, nodes, scaledOf };
}

const wantedBy = (apps: readonly KnownApp[]) => apps.map(({ app }) => app.wanted.work);

void t.test('it is written before it counts, goes on with another leader, and becomes an event', async (t) => {
  const store = memoryControlStore();
  const election = new Election(store, { name: 'c', leaseMs: 1000, storeForgets: false });
  const leadership = await election.whenLeading();
  t.teardown(async () => {
    await election.close();
    await store.close();
  });
  const troubles: string[] = [];
  const events = new ClusterEvents(store, { leadership: () => leadership });
  const giverOf = (policy = gpuPolicyOf()) =>
    new GpuGiver(store, {
      policy,
      port: systemControlPort,
      events,
      troubles: new Troubles(({ message }) => troubles.push(message)),
    });
  const giver = giverOf();
  const [one, two] = worldOf('two').apps as [KnownApp, KnownApp];
  t.equal(giver.limitsOf(one.app), undefined, 'it has not looked');
  const plain = { ...worldOf('two'), apps: [{ ...one, app: { ...one.app, fixed: ['work'] } }] };
  t.equal(giver.isDue(plain), false);
  t.strictSame(await giver.limit(plain, leadership), plain.apps);
  t.equal(await store.get(GPUS), undefined, 'where nothing is divided nothing is written');
  t.equal(giver.isDue(worldOf('two')), true);
  const limited = await giver.limit(worldOf('two'), leadership);
  t.strictSame(wantedBy(limited), [1, 3]);
  t.match(limited[1]!.short, ['stage work may have 3 of the 4 instances that its load needs: GPUs are short']);
  t.strictSame(giver.limitsOf(two.app), { work: 3 });
  t.match(readFenced((await store.get(GPUS))!).value, { state: { stages: { 'two/work': { granted: 3 } } } });
  t.equal(giver.isDue(worldOf('two')), false, 'nothing is new');
  await events.settled();
  const told = await listClusterEvents(store);
  t.match(told, [{ app: 'two', type: 'gpus', words: /^one\/work gives 1 for two\/work: \d+\.\d % more of its tasks/ }]);
  t.strictSame(replayEvents(told), { decisions: 1, differing: [] });

  const next = giverOf();
  t.equal(next.isDue(worldOf('two')), true, 'it has to read first');
  t.strictSame(wantedBy(await next.limit(worldOf('one'), leadership)), [1, 3], 'they rest, also with another leader');
  await events.settled();
  t.equal((await listClusterEvents(store)).length, 1);

  // Another one writes in between: what is in the store counts, and is read again.
  const short = giverOf(gpuPolicyOf({ restMs: 0 }));
  await short.limit(worldOf('two'), leadership);
  const entry = (await store.get(GPUS))!;
  await store.put(GPUS, entry.value, { expected: entry.revision });
  await t.rejects(short.limit(worldOf('one'), leadership), { code: 'RDMA_ERR_CONFLICT' });
  t.equal(short.limitsOf(two.app), undefined, 'nothing was given');
  t.strictSame(wantedBy(await short.limit(worldOf('one'), leadership)), [3, 1]);

  const bad = [
    'nonsense',
    asJson({ term: 0, holder: 'x', value: { atMs: 'x', state: { stages: {}, moves: [] } } }),
    asJson({ term: 0, holder: 'x', value: { atMs: 1, state: { stages: {}, moves: [null] } } }),
    asJson({ term: 0, holder: 'x', value: { atMs: 1, state: { stages: { a: { granted: -1 } }, moves: [] } } }),
  ];
  for (const value of bad) {
    const { revision } = (await store.get(GPUS))!;
    await store.put(GPUS, value, { expected: revision });
    const fresh = giverOf();
    troubles.length = 0;
    t.strictSame(wantedBy(await fresh.limit(worldOf('two'), leadership)), [1, 3]);
    t.match(troubles, [/gpus\.given/]);
  }

  const off = giverOf(gpuPolicyOf(false));
  t.equal(off.isDue(worldOf('two')), false);
  t.strictSame(wantedBy(await off.limit(worldOf('two'), leadership)), [3, 4]);
});

void t.test('what a node that drains has stays with who has it, until there is room elsewhere', (t) => {
  const { apps, scaledOf } = worldOf('two');
  const half = { ...nodes[0]!, gpus: gpus.slice(0, 2) };
  const draining = { ...half, name: 'd', host: 'd', draining: true };
  const moved = (app: KnownApp, ...places: string[]): KnownApp => {
    const { record } = app;
    const own = Object.entries(record!.assignments).map(([place, assignment]) => {
      return [place, places.includes(place) ? { ...assignment, node: 'd' } : assignment] as const;
    });
    return { ...app, record: { ...record!, assignments: Object.fromEntries(own) } };
  };
  const [one, two] = apps as [KnownApp, KnownApp];
  const of = (...list: KnownApp[]) => demandsOf({ apps: list, nodes: [half, draining], scaledOf }, NO_GPU_STATE, 1000);
  t.match(of(moved(one, 'work/1', 'work/2'), two), [{ gpus: 4, stages: [{ has: 3 }, { has: 1 }] }]);
  t.match(of(one, two), [{ gpus: 2 }]);
  // Nothing is short for a stage alone: what lives there goes on until there is room, as ever.
  const { state, events } = giveGpus(
    { apps: [moved(one, 'work/2')], nodes: [half, draining], scaledOf },
    DEFAULT_GPU_MOVES,
    0,
    NO_GPU_STATE,
  );
  t.strictSame([state, events], [NO_GPU_STATE, []]);
  t.end();
});

void t.test('the controller makes plans of no more than was given, and so does the next one', async (t) => {
  const records = new MemoryRecords();
  const [own, others] = [memoryControlStore(records), memoryControlStore(records)];
  const members = new Members(others, { prefix: NODES });
  const gateways = new Members(others, { prefix: GATEWAYS });
  const troubles: string[] = [];
  const controllerOf = (name: string) =>
    new Controller(own, {
      name,
      leaseMs: 1000,
      storeForgets: false,
      onEvent: (event) => {
        if (event.type === 'trouble') troubles.push(String(event.error));
      },
    });
  await members.join('n', asJson(nodes[0]!));
  const world = worldOf('two');
  for (const { app } of world.apps) {
    const { memory } = world.scaledOf(app, 'work');
    const stages = { work: { ...memory, to: app.wanted.work } };
    await gateways.join(gatewayKey(app.name, 0), asJson({ app: app.name, number: 0, address: null, plans: [] }));
    await others.put(SCALES + app.name, asJson({ term: 0, holder: 'before', value: { atMs: 1, stages } }));
    await others.put(APPS + app.name, asJson(app));
  }
  let controller = controllerOf('first');
  t.teardown(async () => {
    await controller.close();
    await Promise.all([members.close(), gateways.close()]);
  });
  const record = async (app: string) => {
    const entry = await others.get(PLANS + app);
    return entry === undefined ? undefined : (readFenced(entry).value as unknown as PlanRecord);
  };
  const count = async (app: string) => (await record(app))?.plan?.instances[0]?.length;
  await until('both have a plan', async () => (await count('one')) !== undefined && (await count('two')) !== undefined);
  t.strictSame(
    [await count('one'), await count('two')],
    [1, 3],
    'not the halves that placement alone would make of 3 and 4',
  );
  t.match((await record('two'))!.unplaced, [/may have 3 of the 4 instances that its load needs/]);
  await controller.close();
  const given = (await others.get(GPUS))!.revision;
  controller = controllerOf('second');
  await becomes('the second leads', () => controller.isLeading);
  const { app } = world.apps[0]!;
  await others.put(APPS + app.name, asJson({ ...app, fixed: ['work'], wanted: { work: 2 } }));
  await until('an operator counts', async () => (await others.get(GPUS))!.revision !== given);
  t.match(readFenced((await others.get(GPUS))!).value, { state: { stages: { 'two/work': { granted: 2 } } } });
  await until('an event', async () => (await listClusterEvents(others)).some(({ words }) => words.includes('gives')));
  const told = (await listClusterEvents(others)).filter(({ type }) => type === 'gpus');
  t.match(told.at(-1), { words: /two\/work gives 1 for one\/work, which has too few to work/ });
  t.strictSame(replayEvents(told), { decisions: told.length, differing: [] });
  t.strictSame(troubles, []);
});

void t.test('settings are checked where a controller is made, and nothing is started', async (t) => {
  const store = memoryControlStore();
  t.teardown(() => store.close());
  t.strictSame(gpuPolicyOf({ perWindow: 2, restMs: undefined } as never), { ...DEFAULT_GPU_MOVES, perWindow: 2 });
  const bad: [unknown, RegExp][] = [
    [{ perWindows: 1 }, /gpuMoves must be an object with any of perWindow, windowMs/],
    [{ perWindow: 1.5 }, /gpuMoves\.perWindow/],
    [{ marginShare: 2 }, /gpuMoves\.marginShare must be a number from 0 to 0\.99/],
    ['x', /gpuMoves/],
  ];
  for (const [gpuMoves, message] of bad) {
    t.throws(() => new Controller(store, { name: 'c', gpuMoves: gpuMoves as never }), { ...INVALID, message });
  }
});
