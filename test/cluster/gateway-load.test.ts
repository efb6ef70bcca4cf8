// Proves what a gateway says of its load: what waits counts where it is held up; and that reports are written only when
// they change, and are gone with their gateway.
import t from 'tap';
import { type GatewayLoad, LOADS, loadOf, readLoad } from '../../src/ts/cluster/gateway-load.js';
import { LoadReporter } from '../../src/ts/cluster/load-reporter.js';
import { memoryControlStore, MemoryRecords, systemControlPort } from '../../src/ts/control/index.js';
import { checkSpec, makePlan } from '../../src/ts/pipeline/index.js';
import { becomes, CutStore } from '../control/support.js';

const SPEC = checkSpec({
  name: 'clip',
  stages: [{ name: 'a' }, { name: 'b', after: ['a'], concurrency: 2, instances: 2 }],
});
const PLAN = makePlan(SPEC, 1);
const KEY = `${LOADS}clip.0`;

const at = (stage: number, instance: number, arrived: number, state = 'ready') => ({
  ...{ stage, instance, arrived, availability: { state } },
});
const served = [
  { count: 3, totalUs: 6000 },
  { count: 2, totalUs: 8000 },
];

void t.test('what waits counts at the stage that holds it up', (t) => {
  const waiting = (instances: object[], queued = 9) => {
    const { a, b } = loadOf(SPEC, PLAN, { instances, served, queued } as never, 20, 1).stages;
    return [a!.waiting, b!.waiting, a!.atWork, b!.atWork];
  };
  t.strictSame(waiting([at(0, 0, 1), at(1, 0, 1), at(1, 1, 1)]), [9, 0, 1, 2], 'b has room');
  t.strictSame(waiting([at(0, 0, 0), at(1, 0, 2), at(1, 1, 3)]), [0, 9, 0, 5], 'a waits for b');
  t.strictSame(waiting([at(0, 0, 2), at(1, 0, 2), at(1, 1, 2)]), [9, 9, 2, 4], 'both are full');
  t.strictSame(waiting([at(0, 0, 0), at(1, 0, 0, 'starting'), at(1, 1, 0, 'broken')]), [0, 9, 0, 0], 'b starts');
  t.strictSame(waiting([at(0, 0, 0), at(1, 0, 1), at(1, 1, 0), at(1, 7, 2)], 0), [0, 0, 0, 3], 'of an older plan');
  t.end();
});

void t.test('a report is read as it was written, and what makes no sense is named', async (t) => {
  const store = memoryControlStore();
  const load = loadOf(SPEC, PLAN, { instances: [], served, queued: 0 } as never, 20, 4);
  t.match(load, { incarnation: 4, arrived: 20, stages: { a: { served: 3, servedMs: 6 } } });
  await store.put(KEY, JSON.parse(JSON.stringify(load)));
  t.strictSame(readLoad(SPEC, (await store.get(KEY))!), load);
  for (const bad of [null, 5, {}, { ...load, stages: {} }, { ...load, arrived: -1 }, { ...load, incarnation: 'x' }]) {
    await store.put(KEY, JSON.parse(JSON.stringify(bad)));
    const entry = (await store.get(KEY))!;
    t.throws(() => readLoad(SPEC, entry), { code: /INVALID_ARGUMENT|PROTOCOL/ }, JSON.stringify(bad));
  }
});

void t.test(
  'reports are written when they change, also after the store was away, and end with the gateway',
  async (t) => {
    const records = new MemoryRecords();
    const store = new CutStore(records);
    const seen = memoryControlStore(records);
    let load: GatewayLoad | undefined;
    // Each round takes no time: what counts is how often it writes.
    let rounds = 0;
    const timers = {
      ...systemControlPort.timers,
      after: (_: number, call: () => void) => {
        const timer = setImmediate(() => {
          rounds++;
          call();
        });
        return () => clearImmediate(timer);
      },
    };
    const reporter = new LoadReporter(store, { key: KEY, port: { ...systemControlPort, timers }, read: () => load });
    const more = async () => {
      const until = rounds + 5;
      await becomes('some rounds', () => rounds >= until);
    };
    await more();
    t.equal(await seen.get(KEY), undefined, 'nobody may learn of it');
    load = loadOf(SPEC, PLAN, { instances: [], served, queued: 0 } as never, 20, 4);
    await more();
    const { revision } = (await seen.get(KEY))!;
    load = { ...load };
    await more();
    t.equal((await seen.get(KEY))!.revision, revision, 'the same is written once');
    store.state = 'away';
    load = { ...load, arrived: 21 };
    await more();
    t.match(reporter.failure, { code: 'RDMA_ERR_PEER_GONE' });
    store.state = 'well';
    await more();
    t.equal(reporter.failure, undefined);
    t.match(readLoad(SPEC, (await seen.get(KEY))!), { arrived: 21 });
    await reporter.close();
    t.equal(await seen.get(KEY), undefined);
  },
);

void t.test('a report that somebody waits for comes at once, however many wait, and once in a second', async (t) => {
  const store = memoryControlStore();
  t.teardown(() => store.close());
  const due: { afterMs: number; call: () => void }[] = []; // the last is the one that counts
  const timers = {
    ...systemControlPort.timers,
    after: (afterMs: number, call: () => void) => {
      const timer = { afterMs, call };
      due.push(timer);
      return () => void due.splice(due.indexOf(timer), 1);
    },
  };
  let reads = 0;
  const read = () => {
    reads++;
    return undefined;
  };
  const reporter = new LoadReporter(store, { key: KEY, port: { ...systemControlPort, timers }, read });
  t.teardown(() => reporter.close());
  const passes = async () => {
    due.pop()!.call();
    await becomes('the next timer', () => due.length === 1);
  };
  await passes();
  t.equal(due[0]!.afterMs, 1000);
  reporter.hurry();
  const [hurried] = due;
  t.equal(hurried!.afterMs, 0);
  for (let i = 0; i < 1000; i++) reporter.hurry();
  t.equal(due[0], hurried, 'whoever comes later does not put it off');
  await passes();
  t.match([reads, due[0]!.afterMs], [2, 1000]);
  reporter.hurry();
  t.equal(due[0]!.afterMs, 1000, 'it has just reported');
  const reported = passes();
  reporter.hurry();
  await reported;
  t.match([reads, due[0]!.afterMs], [3, 0], 'during a report: once more behind it');
  await passes();
  t.match([reads, due[0]!.afterMs], [4, 1000]);
});
