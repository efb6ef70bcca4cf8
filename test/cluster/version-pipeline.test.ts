// Proves that a gateway loses no request when the record of plans goes on without a plan that the gateway has, or when
// a place is lost whose name was given up before, and that one that starts follows plans: real worker processes, and
// records that this test writes.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { ClusterPipeline, Controller, deploy, NodeManager } from '../../src/ts/cluster/index.js';
import { asJson, gatewayKey, GATEWAYS, PLANS, type PlanRecord } from '../../src/ts/cluster/cluster-records.js';
import { memoryControlStore, readFenced } from '../../src/ts/control/index.js';
import { readLeaseRecord } from '../../src/ts/control/lease-record.js';
import { makePlan } from '../../src/ts/pipeline/index.js';
import { DEVICE, until, within } from '../pipeline/support.js';
import { held } from './forgotten-plan-workflow.js';

const SECRET = 'a secret of the cluster';
const KEY = `${PLANS}${held.name}=v1`;

t.setTimeout(0); // on a busy machine it takes as long as it takes

interface Ending {
  teardown: (work: () => Promise<void> | void) => void;
}

// A cluster whose controller has ended: from then on this test writes the plans.
async function cluster(t: Ending) {
  const store = memoryControlStore();
  const folder = mkdtempSync(join(tmpdir(), 'onepiece-plans-'));
  const controller = new Controller(store, { name: 'c', leaseMs: 1000, storeForgets: false });
  const has = { host: 'a', cores: 8, memoryBytes: 2 ** 30 };
  const node = await NodeManager.start(store, { name: 'a', secret: SECRET, devices: [DEVICE], leaseMs: 1000, has });
  await deploy(store, held, { version: 'v1' });
  const options = { app: held.name, secret: SECRET, devices: [DEVICE], leaseMs: 60_000 };
  const pipeline = await within('the gateway', ClusterPipeline.connect(store, options), 60_000);
  await within('the close of the controller', controller.close(), 20_000);
  t.teardown(async () => {
    await within('the close of the gateway', pipeline.close(), 20_000);
    await within('the close of the node', node.close(), 20_000);
    await store.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const record = async () => {
    const fenced = readFenced((await store.get(KEY))!);
    return { fenced, record: fenced.value as unknown as PlanRecord };
  };
  let files = 0;
  return {
    pipeline,
    connect: () => ClusterPipeline.connect(store, { ...options, startTimeoutMs: 60_000 }),
    // The plans that a gateway says it has.
    plansOf: async (number: number) => {
      const data = readLeaseRecord(await store.get(GATEWAYS + gatewayKey(`${held.name}=v1`, number)))?.data;
      return (data as { plans?: number[] } | undefined)?.plans ?? [];
    },
    // The next plan, for two gateways: with a place that nobody starts, or as it was before that.
    nextFor: async (gateways: number[], how: 'never works' | 'as before') => {
      const { fenced, record: old } = await record();
      const first = old.olderPlans[0] ?? old.plan!;
      const isNever = how === 'never works';
      const plan = makePlan(held.spec, old.plan!.number + 1, isNever ? [[7]] : first.instances, gateways);
      const never = { node: 'z', run: 'of z', epoch: old.lastEpoch + 1, gpus: [] };
      const { 'work/7': _, ...others } = old.assignments;
      const fresh: PlanRecord = {
        ...old,
        plan,
        olderPlans: [first],
        lastEpoch: old.lastEpoch + 1,
        assignments: isNever ? { ...others, 'work/7': never } : others,
      };
      await store.put(KEY, asJson({ ...fenced, value: asJson(fresh) }));
      return plan.number;
    },
    // A request that is at work, and what lets it end.
    begin: async () => {
      const file = join(folder, `end-${files++}`);
      const result = pipeline.run({ meta: { file } });
      result.catch(() => {}); // it is awaited later
      await until('a task', () => existsSync(`${file}.begun`), 60_000);
      const runs = () => readFileSync(`${file}.begun`, 'utf8').split('\n').length - 1;
      return { result, runs, end: () => writeFileSync(file, '') };
    },
    // The next plan: this instance alone, in a process of its own. The one before it is left out, or older with its
    // place lost.
    next: async (instance: number, before: 'forgotten' | 'lost') => {
      const { fenced, record: old } = await record();
      const plan = makePlan(held.spec, old.plan!.number + 1, [[instance]], old.plan!.gateways);
      const [epoch, name] = [old.lastEpoch + 1, `work/${instance}`];
      const assignment = Object.values(old.assignments).find(({ node }) => node === 'a')!;
      const gone = Object.keys(old.assignments).filter((each) => each !== name);
      const lost = before === 'lost' ? gone : [];
      const fresh: PlanRecord = {
        ...old,
        plan,
        olderPlans: before === 'lost' ? [old.plan!] : [],
        lastEpoch: epoch,
        lost,
        assignments: {
          ...Object.fromEntries(lost.map((each) => [each, { ...assignment, node: 'z', run: 'of z', epoch }])),
          [name]: { ...assignment, node: 'a', epoch },
        },
      };
      await store.put(KEY, asJson({ ...fenced, value: asJson(fresh) }));
      await until(`plan ${plan.number}`, () => pipeline.status().plan.number === plan.number, 60_000);
    },
  };
}

void t.test('a plan that the store has forgotten: its requests are admitted again', async (t) => {
  const { pipeline, begin, next } = await cluster(t);
  const request = await begin();
  await next(0, 'forgotten');
  await until('another run', () => request.runs() > 1, 60_000);
  request.end();
  await within('the result', request.result, 60_000);
  await until('one plan', () => pipeline.status().olderPlans.length === 0, 60_000);
});

void t.test('a place is lost whose name was given up before: its requests are admitted again', async (t) => {
  const { pipeline, begin, next } = await cluster(t);
  // Twice forth and back: each name is given up, has a new place, and is given up again.
  for (const instance of [1, 0, 1, 0]) {
    const request = await begin();
    await next(instance, 'lost');
    await until(`another run at work/${instance}`, () => request.runs() > 1, 60_000);
    request.end();
    await within('the result', request.result, 60_000);
    await until('one plan', () => pipeline.status().olderPlans.length === 0, 60_000);
  }
});

void t.test('a gateway that starts goes on to the next plan when its first one is dropped', async (t) => {
  const { connect, plansOf, nextFor } = await cluster(t);
  const dropped = await nextFor([0, 1], 'never works');
  const starting = connect();
  starting.catch(() => {}); // it is awaited later
  const opened = async () => (await plansOf(1)).includes(dropped);
  for (let tries = 0; !(await opened()) && tries < 3000; tries++) await new Promise((next) => setTimeout(next, 20));
  t.ok(await opened(), 'it has begun with the plan that never works');
  const next = await nextFor([0, 1], 'as before');
  const late = await within('the start', starting, 60_000);
  t.equal(late.status().plan.number, next);
  await within('the close', late.close(), 20_000);
});
