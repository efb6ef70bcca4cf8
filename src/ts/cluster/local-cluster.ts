// A whole cluster in one process, for one workflow: the control store in memory, the controller, a node and a gateway.
//
// Invariant: the components are those of a cluster of many hosts, and meet only in the store. There is one node, and no
// other one will come: a stage that the node can never hold, or that ends before it is ready, fails the start with the
// reason. Nothing that was started here outlives close().
import { randomBytes } from 'node:crypto';
import { tellerOf } from '../core/event-teller.js';
import { followAbort } from '../core/abort.js';
import { RdmaError } from '../core/errors.js';
import { checkAbortSignal, checkFunction, checkObject } from '../core/validate.js';
import { type ControlStore, memoryControlStore } from '../control/index.js';
import type { Workflow } from '../pipeline/index.js';
import { type NodeInfo, place } from '../planner/policies.js';
import { AppHost } from './app-host.js';
import { ClusterPipeline, type ClusterPipelineOptions } from './cluster-client.js';
import { Controller, type ControllerEvent, type ControllerOptions } from './controller.js';
import { deploy } from './deploy.js';
import type { LocalPipelineStatus } from './local-pipeline-options.js';
import { checkClaims } from './machine-memory.js';
import { type NodeEvent, NodeManager, type NodeOptions } from './node-manager.js';
import type { Restart } from './place-state.js';
import type { RequestWatcher } from './request-watch.js';
import { RestartLog, type RestartTotal } from './restart-log.js';
import { scaleApp } from './scale-app.js';

/** How to start a cluster in one process; see {@link NodeOptions} and {@link ClusterPipelineOptions}. */
export interface LocalClusterOptions
  extends Omit<ClusterPipelineOptions, 'app' | 'secret' | 'leaseMs' | 'port' | 'devices' | 'address' | 'tlsDir'>,
    Pick<NodeOptions, 'has' | 'heartbeatMs' | 'maxRestarts'>,
    Pick<ControllerOptions, 'gpuMoves'> {
  /** Name of the device that carries the messages; default soft0. */
  readonly device?: string;
  /** Called with what its node and its controller say of themselves. */
  readonly onEvent?: (event: NodeEvent | ControllerEvent) => void;
}

const NAME = 'local';
/** Its parts end together: nobody waits for one of them to be lost. */
const LEASE_MS = 10_000;

/** Made by {@link LocalCluster.start}. */
export class LocalCluster implements AsyncDisposable {
  /** What it runs. */
  readonly workflow: Workflow;
  /** Name of the device that carries the messages. */
  readonly device: string;
  private readonly options: LocalClusterOptions;
  private readonly tell: (event: NodeEvent | ControllerEvent) => void;
  private readonly store: ControlStore = memoryControlStore();
  private readonly restartLog = new RestartLog();
  private readonly starting = new AbortController();
  private controller: Controller | undefined;
  private node: NodeManager | undefined;
  private host: AppHost | undefined;
  private gateway: ClusterPipeline | undefined;
  private closing: Promise<void> | undefined;

  private constructor(workflow: Workflow, options: LocalClusterOptions) {
    const { onEvent = () => {}, device = 'soft0' } = checkObject<LocalClusterOptions>('options', options);
    this.tell = tellerOf('onEvent', checkFunction('onEvent', onEvent));
    this.workflow = workflow;
    this.device = device;
    this.options = options;
  }

  /**
   * Starts all of it, and waits until the workflow works.
   *
   * @param workflow exported by the file that it names as its `module`
   * @throws RdmaError RDMA_ERR_STAGE_FAILED when a process ends before it is ready, with its reason;
   *   RDMA_ERR_NOT_SUPPORTED when a stage needs more than there is, with the numbers; RDMA_ERR_ABORTED; and as
   *   ClusterPipeline.connect; nothing is left running then
   */
  static async start(workflow: Workflow, options: LocalClusterOptions = {}): Promise<LocalCluster> {
    const cluster = new LocalCluster(workflow, options);
    const signal = checkAbortSignal('signal', options.signal);
    const giveUp = () => cluster.starting.abort(signal?.reason);
    const stopListening = followAbort(signal, giveUp);
    try {
      await cluster.startAll();
    } catch (error) {
      await cluster.close();
      throw error;
    } finally {
      stopListening();
    }
    return cluster;
  }

  private async startAll(): Promise<void> {
    const { workflow, device, store, starting } = this;
    const { has, heartbeatMs, maxRestarts, gpuMoves, onEvent: _onEvent, device: _device, ...more } = this.options;
    const { pollUs, reconnectMs, startTimeoutMs } = more;
    checkClaims(has?.memoryBytes);
    const secret = randomBytes(32).toString('hex');
    const given = Object.entries({ has, heartbeatMs, maxRestarts, pollUs, reconnectMs, startTimeoutMs });
    const own: Partial<NodeOptions> = Object.fromEntries(given.filter(([, value]) => value !== undefined));
    this.node = await NodeManager.startWith(
      store,
      { ...own, name: NAME, secret, devices: [device], leaseMs: LEASE_MS, onEvent: (event) => this.onNodeEvent(event) },
      (options) => {
        this.host = new AppHost(options);
        return this.host;
      },
    );
    checkRoom(workflow, this.node.info);
    // A store in memory forgets nothing while this process is there.
    const leader = { name: NAME, leaseMs: LEASE_MS, storeForgets: false, gpuMoves, onEvent: this.tell };
    this.controller = new Controller(store, leader);
    await deploy(store, workflow);
    const how = { ...more, devices: [device], app: workflow.name, secret, leaseMs: LEASE_MS, signal: starting.signal };
    this.gateway = await ClusterPipeline.connect(store, how);
  }

  private onNodeEvent(event: NodeEvent): void {
    if (event.type === 'restart') {
      const { stage, instance, reason } = event.restart;
      this.restartLog.add(event.restart);
      if (this.gateway === undefined) {
        const text = `stage ${stage}/${instance} ended before it was ready: ${reason}`;
        this.starting.abort(new RdmaError('RDMA_ERR_STAGE_FAILED', text, { stage }));
      }
    }
    this.tell(event);
  }

  /** Takes the requests. */
  get pipeline(): ClusterPipeline {
    return this.gateway!; // start() has waited for it
  }

  /** The instances that were replaced, in order: the last 256. See `restartTotals` for how many there were. */
  get restarts(): readonly Restart[] {
    return this.restartLog.last;
  }

  /** How often each place was given another process since the start, by why; also places that are not there now. */
  get restartTotals(): readonly RestartTotal[] {
    return this.restartLog.totals;
  }

  /** Instances that are wanted and do not fit, in words. */
  get unplaced(): readonly string[] {
    return this.pipeline.status().unplaced;
  }

  /** The process of every instance that runs now. */
  get processes(): { app: string; place: string; pid: number }[] {
    return this.node?.processes ?? [];
  }

  /**
   * What every place is doing; asks all processes. For operators, not for hot loops.
   *
   * @throws RdmaError RDMA_ERR_CLOSED
   */
  async status(): Promise<LocalPipelineStatus> {
    const { host, pipeline } = this;
    const { plan, gateway, memory } = pipeline.status();
    return { plan, gateway, memory, ...(await host!.status()) };
  }

  /** See ClusterPipeline.watchRequests. */
  watchRequests(watcher: RequestWatcher): () => void {
    return this.pipeline.watchRequests(watcher);
  }

  /** See scaleApp(). */
  scale(stage: string, instances: number): Promise<void> {
    return scaleApp(this.store, this.workflow.name, stage, instances);
  }

  /** Ends all of it at once: requests under way fail with RDMA_ERR_CLOSED. A second call answers the same promise. */
  close(): Promise<void> {
    this.closing ??= this.closeNow();
    return this.closing;
  }

  private async closeNow(): Promise<void> {
    await this.gateway?.close();
    await this.node?.close();
    await this.controller?.close();
    await this.store.close();
  }

  /** As {@link LocalCluster.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

// No other node will come.
function checkRoom({ name, spec }: Workflow, node: NodeInfo): void {
  const wanted = spec.stages.map(({ instances }) => instances);
  const { unplaced } = place({ nodes: [node], workflows: [{ id: name, spec, wanted }] });
  const reasons = unplaced.filter(({ placed }) => placed === 0).map(({ reason }) => reason);
  if (reasons.length === 0) return;
  throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', `${name} does not fit on this machine: ${reasons.join('; ')}`, {
    remedy: 'ask for less in its stages, or say what this machine has',
  });
}
