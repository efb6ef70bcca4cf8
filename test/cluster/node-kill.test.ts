// Proves that a cluster loses no request when nodes, its leader or the control store die: real processes, a real
// nats-server.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { ClusterPipeline, deploy, overview } from '../../src/ts/cluster/index.js';
import { type ControlStore, natsControlStore } from '../../src/ts/control/index.js';
import { NatsServer, NO_NATS } from '../control/nats-server.js';
import { DEVICE, until, within } from '../pipeline/support.js';
import { diamond, diamondRequest } from '../pipeline/workflows.js';
import { ClusterNode } from './cluster-node.js';
import { children, gone } from './support.js';

const SECRET = 'a secret of the cluster';
const LEASE_MS = 1500;
const skip = NO_NATS === undefined ? {} : { skip: NO_NATS };

interface Ending {
  teardown: (work: () => Promise<void> | void) => void;
}

interface Cluster {
  nats: NatsServer;
  control: ControlStore;
  pipeline: ClusterPipeline;
  nodes: Map<string, ClusterNode>;
  addNode: (name: string) => Promise<void>;
}

async function cluster(t: Ending, names: readonly string[]): Promise<Cluster> {
  const folder = mkdtempSync(join(tmpdir(), 'onepiece-cluster-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const secretFile = join(folder, 'secret');
  writeFileSync(secretFile, SECRET, { mode: 0o600 });
  const nats = await NatsServer.start();
  t.teardown(() => nats.stop());
  const nodes = new Map<string, ClusterNode>();
  const addNode = async (name: string) => {
    const node = await ClusterNode.start({ name, url: nats.url, secretFile, leaseMs: LEASE_MS });
    nodes.set(name, node);
    t.teardown(() => node.kill());
  };
  for (const name of names) await addNode(name);
  const control = await natsControlStore({ servers: nats.url });
  t.teardown(() => control.close());
  await deploy(control, diamond);
  const options = { app: diamond.name, secret: SECRET, devices: [DEVICE], leaseMs: LEASE_MS };
  const pipeline = await within('the gateway', ClusterPipeline.connect(control, options), 60_000);
  t.teardown(() => within('the close', pipeline.close(), 20_000));
  return { nats, control, pipeline, nodes, addNode };
}

/** Requests, some at a time, until stop(). Each has its own answer, or its error is kept. */
class Load {
  finished = 0;
  readonly wrong: string[] = [];
  private stopped = false;
  private readonly over: Promise<unknown>;

  constructor(pipeline: ClusterPipeline, clients = 4) {
    let next = 0;
    const client = async () => {
      while (!this.stopped) {
        const n = next++;
        const { request, result } = diamondRequest(n);
        try {
          const { outputs } = await within(`request ${n}`, pipeline.run(request), 60_000);
          const found = JSON.stringify(outputs.map(({ meta }) => meta));
          if (found !== JSON.stringify([result])) this.wrong.push(`${n}: ${found}`);
        } catch (error) {
          // One is enough: what has failed for good refuses at once.
          this.wrong.push(`${n}: ${String(error)}`);
          this.stopped = true;
        }
        this.finished++;
      }
    };
    this.over = Promise.all(Array.from({ length: clients }, client));
  }

  async more(what: string, count = 20): Promise<void> {
    const before = this.finished;
    await until(`results ${what}`, () => this.stopped || this.finished > before + count, 60_000);
    if (this.stopped) throw new Error(this.wrong.join('; '));
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await within('the load', this.over, 60_000);
  }
}

void t.test('nodes are killed, the leader among them, and every request is answered', skip, async (t) => {
  const { control, pipeline, nodes, addNode } = await cluster(t, ['a', 'b', 'c']);
  const load = new Load(pipeline);
  await load.more('at first');
  const nodesOf = () => new Set(Object.values(pipeline.status().places).map(({ node }) => node));
  const { leader } = await overview(control);
  for (const name of [leader!.name, [...nodes.keys()].find((each) => each !== leader!.name)!]) {
    await nodes.get(name)!.kill();
    await until(`places without ${name}`, () => !nodesOf().has(name), 30_000);
    await load.more(`after the death of ${name}`);
  }
  await addNode('d');
  await load.more('with another node');
  await load.stop();
  t.same(load.wrong, []);
  t.ok((await overview(control)).leader!.term > leader!.term, 'another one leads, in a later term');
});

void t.test('a node that is stopped loses its places, and has none when it goes on', skip, async (t) => {
  const { pipeline, nodes } = await cluster(t, ['a', 'b']);
  const load = new Load(pipeline);
  await load.more('at first');
  const placesOn = (name: string) => Object.values(pipeline.status().places).filter(({ node }) => node === name).length;
  const [name] = ['a', 'b'].filter((each) => placesOn(each) > 0);
  nodes.get(name!)!.signal('SIGSTOP');
  await until('places elsewhere', () => placesOn(name!) === 0, 30_000);
  await load.more('while it is stopped');
  nodes.get(name!)!.signal('SIGCONT');
  await load.more('when it goes on');
  await load.stop();
  t.same(load.wrong, []);
});

void t.test('the control store is away: requests go on, and nothing is moved for it', skip, async (t) => {
  const { nats, control, pipeline, nodes } = await cluster(t, ['a', 'b']);
  const load = new Load(pipeline);
  await load.more('at first');
  const before = (await overview(control)).apps[0]!;
  await nats.kill();
  const awayMs = 3 * LEASE_MS;
  const until_ = performance.now() + awayMs;
  while (performance.now() < until_) await load.more('while the store is away');
  await nats.run();
  await load.more('when it is back');
  const after = (await overview(control, 30_000)).apps[0]!;
  const pids = ({ places }: typeof before) => places.map(({ place, node, pid }) => `${place} ${node} ${pid}`).sort();
  t.same(pids(after), pids(before), 'the same processes on the same nodes');
  // And it is followed again.
  await nodes.get('b')!.kill();
  const nodesOf = () => new Set(Object.values(pipeline.status().places).map(({ node }) => node));
  await until('places without b', () => !nodesOf().has('b'), 60_000);
  await load.more('after the death of a node');
  await load.stop();
  t.same(load.wrong, []);
});

t.teardown(async () => {
  await gone(children());
});
