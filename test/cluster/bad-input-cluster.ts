// A cluster of the tests of bad input: its parts in this process, its workers as real processes, and load on it. Not a
// test.
//
// Invariant: each part has a store of its own, as on hosts of their own; all of it ends with the test.
import { ClusterPipeline, Controller, deploy, NodeManager, type NodeOptions } from '../../src/ts/cluster/index.js';
import type { ControlStore } from '../../src/ts/control/index.js';
import type { Workflow } from '../../src/ts/pipeline/index.js';
import { DEVICE, until, within } from '../pipeline/support.js';

export const SECRET = 'a secret of the cluster';
export const LEASE_MS = 1000;

export interface Ending {
  teardown: (work: () => Promise<void> | void) => void;
}

export class BadInputCluster {
  /** What nodes and controller complained of. */
  readonly troubles: string[] = [];
  readonly nodes: NodeManager[] = [];
  private readonly gateways: ClusterPipeline[] = [];
  private readonly stores: ControlStore[] = [];
  private controller!: Controller;

  private constructor(private readonly openStore: () => Promise<ControlStore>) {}

  /** A controller, and a node named `a`. */
  static async start(t: Ending, openStore: () => Promise<ControlStore>): Promise<BadInputCluster> {
    const cluster = new BadInputCluster(openStore);
    t.teardown(() => cluster.close());
    const { onEvent } = cluster;
    const options = { name: 'c', leaseMs: LEASE_MS, onEvent };
    cluster.controller = new Controller(await cluster.store(), options);
    await cluster.addNode('a');
    return cluster;
  }

  private readonly onEvent = (event: { type: string; error?: Error }): void => {
    if (event.type === 'trouble') this.troubles.push(String(event.error));
  };

  /** One more connection. */
  async store(): Promise<ControlStore> {
    const store = await this.openStore();
    this.stores.push(store);
    return store;
  }

  async addNode(name: string, more: Partial<NodeOptions> = {}): Promise<NodeManager> {
    const has = { host: name, cores: 8, memoryBytes: 2 ** 29 };
    const own = { name, secret: SECRET, device: DEVICE, leaseMs: LEASE_MS, has, onEvent: this.onEvent };
    const node = await within(`node ${name}`, NodeManager.start(await this.store(), { ...own, ...more }));
    this.nodes.push(node);
    return node;
  }

  async deploy(workflow: Workflow): Promise<void> {
    await deploy(await this.store(), workflow);
  }

  async connect(app: string, more: { secret?: string; startTimeoutMs?: number } = {}): Promise<ClusterPipeline> {
    const own = { app, secret: SECRET, device: DEVICE, leaseMs: LEASE_MS };
    const pipeline = await within(
      `a gateway of ${app}`,
      ClusterPipeline.connect(await this.store(), { ...own, ...more }),
      60_000,
    );
    this.gateways.push(pipeline);
    return pipeline;
  }

  private async close(): Promise<void> {
    for (const pipeline of this.gateways) await within('the close of a gateway', pipeline.close());
    for (const node of this.nodes) await within('the close of a node', node.close());
    await within('the close of the controller', this.controller.close());
    for (const store of this.stores) await store.close();
  }
}

/** Requests of the workflow `plain`, one after the other until stop(). */
export class Load {
  finished = 0;
  readonly wrong: string[] = [];
  private isOver = false;
  private readonly over: Promise<void>;

  constructor(private readonly pipeline: ClusterPipeline) {
    this.over = this.run();
  }

  private async run(): Promise<void> {
    for (let n = 0; !this.isOver; n++) {
      try {
        const { outputs } = await within('a request', this.pipeline.run({ meta: { n } }), 30_000);
        if (outputs[0]?.meta.n !== n + 1) this.wrong.push(`${n}: ${JSON.stringify(outputs)}`);
      } catch (error) {
        this.wrong.push(`${n}: ${String(error)}`);
        if (this.wrong.length > 100) return; // the test has failed, or has ended before its load
      }
      this.finished++;
    }
  }

  /** Waits for more results. */
  async more(count = 20): Promise<void> {
    const before = this.finished;
    await until('more results', () => this.finished >= before + count, 60_000);
  }

  /** @returns what was wrong */
  async stop(): Promise<readonly string[]> {
    this.isOver = true;
    await this.over;
    return this.wrong;
  }
}
