// Proves that nodes, a controller and gateways that meet in a store run an app together, and that it survives what they
// do.
import t from 'tap';
import {
  ClusterPipeline,
  Controller,
  deploy,
  drainNode,
  NodeManager,
  scaleApp,
  undeploy,
} from '../../src/ts/cluster/index.js';
import { memoryControlStore } from '../../src/ts/control/index.js';
import type { Workflow } from '../../src/ts/pipeline/index.js';
import { codeOf, DEVICE, until, within } from '../pipeline/support.js';
import { diamond, diamondRequest } from '../pipeline/workflows.js';
import { threePieces } from './streams.js';

const SECRET = 'a secret of the cluster';
const LEASE_MS = 1000;

interface Ending {
  teardown: (work: () => Promise<void>) => void;
}

// A store, a controller and nodes with these names, which end with the test.
async function cluster(t: Ending, names: readonly string[], workflow: Workflow = diamond) {
  const store = memoryControlStore();
  const troubles: string[] = [];
  const onEvent = (event: { type: string; error?: Error }) => {
    if (event.type === 'trouble') troubles.push(String(event.error));
  };
  const controller = new Controller(store, { name: 'c', leaseMs: LEASE_MS, storeForgets: false, onEvent });
  const nodes = new Map<string, NodeManager>();
  const open: ClusterPipeline[] = [];
  t.teardown(async () => {
    for (const pipeline of open) await within('the close of a gateway', pipeline.close(), 20_000);
    for (const node of nodes.values()) await within('the close of a node', node.close(), 20_000);
    await within('the close of the controller', controller.close(), 20_000);
    await store.close();
  });
  const addNode = async (name: string) => {
    const has = { host: name, cores: 8, memoryBytes: 2 ** 30 };
    const node = await NodeManager.start(store, {
      name,
      secret: SECRET,
      device: DEVICE,
      leaseMs: LEASE_MS,
      has,
      onEvent,
    });
    nodes.set(name, node);
    return node;
  };
  for (const name of names) await addNode(name);
  await deploy(store, workflow);
  const connect = async () => {
    const options = { app: workflow.name, secret: SECRET, device: DEVICE, leaseMs: LEASE_MS };
    const pipeline = await within('the gateway', ClusterPipeline.connect(store, options), 60_000);
    open.push(pipeline);
    return pipeline;
  };
  return { store, controller, nodes, addNode, connect, troubles };
}

async function check(pipeline: ClusterPipeline, n: number): Promise<string | undefined> {
  const { request, result } = diamondRequest(n);
  const { outputs } = await within(`request ${n}`, pipeline.run(request), 30_000);
  const found = JSON.stringify(outputs.map(({ meta }) => meta));
  return found === JSON.stringify([result]) ? undefined : `${n}: ${found}`;
}

void t.test('an app runs on two nodes, through two gateways, and is scaled, drained and removed', async (t) => {
  const { store, nodes, connect, troubles } = await cluster(t, ['a', 'b']);
  const first = await connect();
  const wrong: string[] = [];
  let finished = 0;
  let stop = false;
  const load = async (pipeline: ClusterPipeline) => {
    for (let n = 0; !stop; n++) {
      const found = await check(pipeline, n);
      if (found !== undefined) wrong.push(found);
      finished++;
    }
  };
  const nodesOf = () => new Set(Object.values(first.status().places).map(({ node }) => node));
  const loads = [load(first)];
  t.same([...nodesOf()].sort(), ['a', 'b'], 'instances are spread');
  const second = await connect();
  t.equal(second.status().number, 1);
  loads.push(load(second));
  await scaleApp(store, diamond.name, 'scale', 3);
  const counts = () => first.status().plan.instances.map((list) => list.length);
  await until('three instances', () => counts()[0] === 3 && first.status().olderPlans.length === 0, 30_000);
  const before = finished;
  await until('more results', () => finished > before + 20, 30_000);
  await drainNode(store, 'b');
  await until('an empty node', () => nodes.get('b')!.processes.length === 0, 30_000);
  t.same([...nodesOf()], ['a']);
  const drained = finished;
  await until('more results', () => finished > drained + 20, 30_000);
  stop = true;
  await within('the load', Promise.all(loads), 30_000);
  t.same(wrong, []);
  await undeploy(store, diamond.name);
  await until('no process', () => nodes.get('a')!.processes.length === 0, 30_000);
  t.same(troubles, []);
});

void t.test('a job of a cluster is read piece by piece', async (t) => {
  const { connect } = await cluster(t, ['a'], threePieces);
  const pipeline = await connect();
  const job = await within('the submit', pipeline.submit({}));
  const numbers: unknown[] = [];
  const read = async () => {
    for await (const event of job.pieces()) if (event.type === 'piece') numbers.push(event.meta.number);
  };
  await within('the pieces', read(), 30_000);
  t.same(numbers, [0, 1, 2]);
  const told: string[] = [];
  for await (const { type } of job.events()) told.push(type);
  t.equal(told.filter((type) => type === 'piece').length, 3, 'as they came, and not from the stored result alone');
});

void t.test('what is not there is named', async (t) => {
  const { store, connect } = await cluster(t, ['a']);
  t.equal(await codeOf(ClusterPipeline.connect(store, { app: 'none', secret: SECRET })), 'RDMA_ERR_NOT_FOUND');
  t.equal(await codeOf(scaleApp(store, diamond.name, 'none', 2)), 'RDMA_ERR_NOT_FOUND');
  t.equal(await codeOf(scaleApp(store, 'none', 'a', 2)), 'RDMA_ERR_NOT_FOUND');
  t.equal(await codeOf(undeploy(store, 'none')), 'RDMA_ERR_NOT_FOUND');
  const twin = NodeManager.start(store, { name: 'a', secret: SECRET, leaseMs: LEASE_MS });
  t.equal(await codeOf(twin), 'RDMA_ERR_CONFLICT', 'a name is one node’s');
  t.equal(await check(await connect(), 1), undefined);
});
