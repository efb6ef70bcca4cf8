// Proves that a controller writes each plan against the record that it has decided from, also when that one changes
// while it writes the plan of another app.
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import {
  APPS,
  type App,
  asJson,
  GATEWAYS,
  gatewayKey,
  NO_PLAN,
  NODES,
  PLANS,
  type PlanRecord,
} from '../../src/ts/cluster/cluster-records.js';
import { Controller } from '../../src/ts/cluster/controller.js';
import {
  type ControlStore,
  memoryControlStore,
  MemoryRecords,
  Members,
  readFenced,
} from '../../src/ts/control/index.js';
import { makePlan } from '../../src/ts/pipeline/index.js';
import { becomes } from '../control/support.js';
import { SPEC } from './reconcile-world.js';

const NAMES = ['one', 'two'];
const appOf = (name: string): App => ({
  name,
  module: '/clip.js',
  hash: 'a'.repeat(64),
  spec: SPEC,
  sizes: {} as never,
  wanted: { a: 1, b: 1 },
});

void t.test('a plan that has changed while another was written is decided again', async (t) => {
  const records = new MemoryRecords();
  const [own, others] = [memoryControlStore(records), memoryControlStore(records)];
  const nodes = new Members(others, { prefix: NODES });
  const gateways = new Members(others, { prefix: GATEWAYS });
  t.teardown(() => Promise.all([nodes.close(), gateways.close()]));
  const has = { name: 'n', host: 'n', cores: 4, memoryBytes: 2 ** 30, run: 'r' };
  await nodes.join('n', asJson(has));
  for (const app of NAMES) {
    await gateways.join(gatewayKey(app, 0), asJson({ app, number: 0, address: null, plans: [] }));
    await others.put(APPS + app, asJson(appOf(app)));
  }
  // While the controller writes the first plan, somebody writes the other one.
  const assignment = { node: 'n', run: 'r', gpus: [] };
  const newer: PlanRecord = {
    ...NO_PLAN,
    plan: makePlan(SPEC, 9, [[0], [0]], [0]),
    assignments: { 'a/0': { ...assignment, epoch: 20 }, 'b/0': { ...assignment, epoch: 21 } },
    lastEpoch: 21,
  };
  let other: string | undefined;
  const store: ControlStore = {
    get: (key) => own.get(key),
    delete: (key, expected) => own.delete(key, expected),
    watch: (prefix, signal) => own.watch(prefix, signal),
    close: () => own.close(),
    put: async (key, value, options) => {
      if (key.startsWith(PLANS) && other === undefined) {
        other = PLANS + NAMES.find((name) => PLANS + name !== key)!;
        await others.put(other, asJson({ term: 1, holder: 'another', value: newer }));
        await sleep(100); // the controller's view sees it
      }
      return own.put(key, value, options);
    },
  };
  const numbers: (number | undefined)[] = [];
  const end = new AbortController();
  const watch = others.watch(PLANS, end.signal);
  const watching = (async () => {
    for await (const event of watch) {
      if (event.type !== 'put' || event.entry.key !== other) continue;
      const { plan, lastEpoch } = readFenced(event.entry).value as unknown as PlanRecord;
      numbers.push(plan?.number, lastEpoch);
    }
  })();
  let leads = false;
  const plans: string[] = [];
  const controller = new Controller(store, {
    name: 'c',
    storeForgets: false,
    onEvent: (event) => {
      leads ||= event.type === 'leading';
      if (event.type === 'plan') plans.push(event.app);
    },
  });
  t.teardown(() => controller.close());
  await becomes('it leads', () => leads);
  await becomes('a plan is written', () => plans.length > 0);
  await becomes('it has seen the other', () => numbers.length > 0);
  // A change of the other app shows that it has decided again since.
  const name = other!.slice(PLANS.length);
  await others.put(APPS + name, asJson({ ...appOf(name), wanted: { a: 2, b: 1 } }));
  await becomes('the next plan is written', () => numbers.length >= 4);
  t.strictSame(numbers, [9, 21, 10, 22], 'it goes on from there, and has written nothing before');
  end.abort();
  await watching;
});
