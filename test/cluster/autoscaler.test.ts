// Proves what is left in the store by scaling: what cannot be used is named and begun again, what nobody needs is
// removed, and an app without a scaled stage costs nothing.
import t from 'tap';
import { Autoscaler } from '../../src/ts/cluster/autoscaler.js';
import { ClusterEvents } from '../../src/ts/cluster/cluster-events.js';
import { type App, APPS, asJson, SCALES } from '../../src/ts/cluster/cluster-records.js';
import { ClusterView } from '../../src/ts/cluster/cluster-view.js';
import { LOADS } from '../../src/ts/cluster/gateway-load.js';
import { Troubles } from '../../src/ts/cluster/troubles.js';
import { Election, memoryControlStore, readFenced, systemControlPort } from '../../src/ts/control/index.js';
import { checkSpec } from '../../src/ts/pipeline/index.js';
import { becomes } from '../control/support.js';

const LEASE_MS = 1000;

function appOf(name: string, scale: object | undefined): App {
  const spec = checkSpec({ name, stages: [{ name: 'work', ...(scale === undefined ? {} : { scale }) }] });
  return { name, module: '/clip.js', hash: 'a'.repeat(64), spec, sizes: {} as never, wanted: { work: 3 } };
}

void t.test('records that cannot be used are named, and those of no app are removed', async (t) => {
  const store = memoryControlStore();
  const plain = appOf('plain', undefined);
  const [clip, odd] = [appOf('clip', { sloMs: 500, max: 5 }), appOf('odd', { sloMs: 500 })];
  for (const app of [clip, odd]) await store.put(APPS + app.name, asJson(app));
  const written = (stages: object) => asJson({ term: 0, holder: 'before', value: { atMs: 5, stages } });
  await store.put(`${SCALES}clip`, 'nonsense');
  await store.put(`${SCALES}odd`, written({ work: { to: 4, state: { arrivals: null }, confirmed: 0, loadMs: 1 } }));
  await store.put(`${SCALES}gone`, written({}));
  await store.put(`${LOADS}gone.0`, 5);
  const troubles: string[] = [];
  const told = new Troubles(({ message }) => troubles.push(message));
  const election = new Election(store, { name: 'c', leaseMs: LEASE_MS, storeForgets: false });
  const view = new ClusterView(store, { leaseMs: LEASE_MS, port: systemControlPort, onChange: () => {} });
  let changes = 0;
  const scaler = new Autoscaler(store, {
    leaseMs: LEASE_MS,
    port: systemControlPort,
    view,
    events: new ClusterEvents(store),
    troubles: told,
    leadership: () => election.leadership,
    known: () =>
      [plain, clip, odd].map((app) => {
        return { app, record: undefined, gateways: [], reports: {}, seen: { plan: 0, epochs: {} } };
      }),
    onChange: () => changes++,
  });
  t.teardown(async () => {
    await scaler.close();
    await election.close();
    await view.close();
    await store.close();
  });
  t.strictSame(scaler.wantedOf(plain), { work: 3 }, 'counted by hand');
  t.equal(scaler.wantedOf(clip), undefined, 'it has not read what was decided');
  await election.whenLeading();
  await becomes('it knows', () => scaler.isReady && changes > 0);
  t.strictSame(scaler.wantedOf(clip), { work: 3 });
  t.strictSame(scaler.wantedOf(odd), { work: 4 }, 'what was decided before');
  t.match(troubles, [/scales\.clip/]);
  await becomes('the troubles', () => troubles.length > 1);
  t.strictSame(scaler.wantedOf(odd), { work: 4 }, 'the count stays');
  let left: unknown = 1;
  for (let i = 0; i < 1000 && left !== undefined; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    left = (await store.get(`${SCALES}gone`)) ?? (await store.get(`${LOADS}gone.0`));
  }
  t.equal(left, undefined, 'nothing is kept of an app that is not there');
  t.match(readFenced((await store.get(`${SCALES}odd`))!), { term: 0 }, 'nothing was decided');
});
