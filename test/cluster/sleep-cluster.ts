// A cluster of one node that runs the workflow of the tests of stages that sleep. Not a test.
//
// Invariant: everything that it opened is closed at the end of the test, gateways first.
import type { Test } from 'tap';
import {
  ClusterPipeline,
  type ClusterPipelineOptions,
  Controller,
  deploy,
  NodeManager,
} from '../../src/ts/cluster/index.js';
import { type ControlStore, memoryControlStore } from '../../src/ts/control/index.js';
import { DEVICE, until, within } from '../pipeline/support.js';
import { sleeper } from './sleep-workflow.js';

const own = { secret: 'a secret of the cluster', device: DEVICE, leaseMs: 1000 };

export class SleepCluster {
  readonly control: ControlStore;
  /** What its controller and its node complained about. */
  readonly troubles: readonly string[];
  private readonly node: NodeManager;
  private readonly closes: (() => Promise<void>)[] = [];

  private constructor(control: ControlStore, node: NodeManager, troubles: readonly string[]) {
    this.control = control;
    this.node = node;
    this.troubles = troubles;
  }

  static async start(t: Test): Promise<SleepCluster> {
    const control = memoryControlStore();
    const troubles: string[] = [];
    const onEvent = (event: { type: string; error?: Error }) => {
      if (event.type === 'trouble') troubles.push(String(event.error));
    };
    const controller = new Controller(control, { name: 'c', leaseMs: own.leaseMs, storeForgets: false, onEvent });
    const has = { host: 'a', cores: 8, memoryBytes: 2 ** 33 };
    const node = await NodeManager.start(control, { name: 'a', has, onEvent, ...own });
    await deploy(control, sleeper);
    const cluster = new SleepCluster(control, node, troubles);
    t.teardown(async () => {
      for (const close of cluster.closes) await within('the close of a gateway', close(), 20_000);
      await within('the close of the node', node.close(), 20_000);
      await within('the close of the controller', controller.close(), 20_000);
      await control.close();
    });
    return cluster;
  }

  /** Processes of stages. */
  get processes(): number {
    return this.node.processes.length;
  }

  /** One more gateway. @param close what is closed after it, at the end of the test */
  async connect(
    options: Partial<ClusterPipelineOptions> = {},
    close: () => Promise<void> = async () => {},
  ): Promise<ClusterPipeline> {
    const connecting = ClusterPipeline.connect(this.control, { app: sleeper.name, ...own, ...options });
    const pipeline = await within('the gateway', connecting, 60_000);
    this.closes.push(async () => {
      await pipeline.close();
      await close();
    });
    return pipeline;
  }

  /** Waits until the plan that a gateway has is without instances, and no process is left. */
  async sleeps(pipeline: ClusterPipeline): Promise<void> {
    const isAsleep = () => {
      const { plan, olderPlans } = pipeline.status();
      return olderPlans.length === 0 && plan.instances.every((list) => list.length === 0);
    };
    await until('a plan without instances', isAsleep, 60_000);
    await until('no process', () => this.processes === 0, 30_000);
  }
}
