// A client of an app of a cluster, with the interface of a pipeline: new requests go to its current version.
//
// Invariant: a request stays in the version that it began in. The client switches to another version when that one is
// current and works here, and leaves the former one after its last request; while the store is away it does not switch.
// If this client dies, another one finishes the jobs that it has submitted to a durable store.
import { TlsIdentity } from '../connect/index.js';
import { followAbort } from '../core/abort.js';
import { abortError } from '../core/deadline.js';
import { isRdmaError, RdmaError } from '../core/errors.js';
import type { Secret } from '../core/secret.js';
import { checkAbortSignal, checkInteger, checkObject, checkString } from '../core/validate.js';
import { type ControlPort, type ControlStore, systemControlPort } from '../control/index.js';
import {
  type PipelinePort,
  type PipelineRequest,
  type PipelineResult,
  pipelinePort,
  type RequestOptions,
  type WorkflowSpec,
} from '../pipeline/index.js';
import { checkClusterSecret, checkName } from './cluster-records.js';
import {
  checkPipelineOptions,
  checkStore,
  type LocalPipelineOptions,
  type PipelineSettings,
} from './local-pipeline-options.js';
import { deviceSettings, nodeDevices } from './node-devices.js';
import { isSameCode, type NextVersion, type VersionCode, versionApp, type VersionsRecord } from './release-records.js';
import { closedError, RunningPipeline } from './running-pipeline.js';
import { checkSecretProof } from './secret-proof.js';
import { VersionGate } from './version-gate.js';
import { VersionPipeline, type VersionPipelineStatus } from './version-pipeline.js';
import { VersionsView } from './versions-view.js';

/** How to connect to an app of a cluster; `startTimeoutMs` is how long to wait until the app works. */
export interface ClusterPipelineOptions
  extends Pick<
    LocalPipelineOptions,
    'maxInFlight' | 'maxQueued' | 'maxQueuedBytes' | 'pollUs' | 'reconnectMs' | 'startTimeoutMs' | 'store' | 'tenants'
  > {
  /** Name of the app: that of its workflow. */
  readonly app: string;
  /** Names of the devices that it listens on, the one to prefer first; default: all that work. */
  readonly devices?: readonly string[];
  /** The address of this host that other hosts reach it by; default: they do not. */
  readonly address?: string | undefined;
  /**
   * The folder of this node's certificate, as `onepiece cluster init` makes it: places connect by TLS 1.3 between hosts
   * then, and each proves that it belongs to the cluster; default: no TLS. All of a cluster have one, or none.
   */
  readonly tlsDir?: string | undefined;
  /** That of the nodes. */
  readonly secret: string;
  /** Of the gateway's own lease, in ms; default 3000. */
  readonly leaseMs?: number;
  /** After how long without a sign its jobs are another gateway's, in ms; default 10 000. */
  readonly jobLeaseMs?: number;
  readonly port?: ControlPort;
  /** Gives the start up; what it is aborted with is thrown, where that is an RdmaError. */
  readonly signal?: AbortSignal;
}

/** A version that a client has a gateway to. */
export interface ClientVersion {
  readonly version: string;
  /** Whether requests may go to it. */
  readonly isReady: boolean;
  /** Requests of this client that are in it. */
  readonly requests: number;
  /** Why it does not work here; undefined: it does, or is being opened. */
  readonly error: RdmaError | undefined;
}

/** Answered by {@link ClusterPipeline.status}: of the version that takes the requests. */
export interface ClusterPipelineStatus extends VersionPipelineStatus {
  readonly version: string;
  /** All that there are, also what is being opened, or has its last requests. */
  readonly versions: readonly ClientVersion[];
}

/** How long it rests after a version could not be opened. */
const RETRY_MS = 1000;
/** A version that is brought up may take so much longer here than its controller waits, in ms. */
const SPARE_MS = 60_000;

/** Made by {@link ClusterPipeline.connect}. */
export class ClusterPipeline extends RunningPipeline {
  private readonly settings: PipelineSettings;
  private readonly appName: string;
  private readonly secret: Secret<string>;
  private readonly leaseMs: number;
  private readonly port: ControlPort;
  private readonly pipelinePort: PipelinePort;
  private readonly otherDevices: readonly string[];
  private readonly address: string | undefined;
  private readonly view: VersionsView;
  private readonly gates = new Map<string, VersionGate>();
  private record: VersionsRecord | undefined;
  /** Takes the requests. */
  private active: VersionGate | undefined;
  /** Why the first version did not come to work. */
  private startFailure: RdmaError | undefined;

  private constructor(
    private readonly control: ControlStore,
    options: ClusterPipelineOptions,
  ) {
    const given = checkObject<ClusterPipelineOptions>('options', options);
    const { app, secret, leaseMs = 3000, jobLeaseMs, port = systemControlPort, ...others } = given;
    const { devices, address, tlsDir, signal: _signal, ...more } = others;
    const known = deviceSettings(nodeDevices(devices));
    const own = { ...more, device: known.device };
    const settings = checkPipelineOptions(jobLeaseMs === undefined ? own : { ...own, leaseMs: jobLeaseMs });
    if (address !== undefined) checkString('address', address, { minLength: 1, maxLength: 255 });
    super(checkStore(more.store), settings.leaseMs);
    this.settings = settings;
    this.otherDevices = known.otherDevices;
    this.address = address;
    this.pipelinePort = pipelinePort(tlsDir === undefined ? undefined : TlsIdentity.read(tlsDir));
    this.appName = checkName('app', app);
    this.secret = checkClusterSecret(secret);
    this.leaseMs = checkInteger('leaseMs', leaseMs, 50, 600_000);
    this.port = port;
    this.view = new VersionsView(control, {
      leaseMs: this.leaseMs,
      port,
      onChange: () => this.review(),
    });
  }

  /**
   * Connects to an app, and waits until its current version works.
   *
   * @param control what the cluster agrees through; the caller closes it, after the pipeline
   * @throws RdmaError RDMA_ERR_NOT_FOUND when no such app is deployed; RDMA_ERR_TIMEOUT when it does not work in time,
   *   with the reasons; RDMA_ERR_UNAUTHENTICATED when the secret is another cluster's; RDMA_ERR_ABORTED;
   *   RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_NO_DEVICE
   */
  static async connect(control: ControlStore, options: ClusterPipelineOptions): Promise<ClusterPipeline> {
    const pipeline = new ClusterPipeline(control, options);
    const signal = checkAbortSignal('signal', options.signal);
    const giveUp = () => pipeline.fail(isRdmaError(signal?.reason) ? signal.reason : abortError(signal!, 'the start'));
    const stopListening = followAbort(signal, giveUp);
    try {
      await checkSecretProof(control, pipeline.secret, pipeline.settings.startTimeoutMs);
      await pipeline.start();
    } catch (error) {
      await pipeline.close();
      throw error;
    } finally {
      stopListening();
    }
    return pipeline;
  }

  private async start(): Promise<void> {
    const { view, waiters, appName } = this;
    const { startTimeoutMs } = this.settings;
    const silent = () => `the control store has not told within ${startTimeoutMs} ms what there is`;
    await waiters.until(() => view.isSynced, startTimeoutMs, silent);
    if (view.release(appName) === undefined) {
      throw new RdmaError('RDMA_ERR_NOT_FOUND', `no app ${appName} is deployed`, {
        remedy: 'deploy it: onepiece deploy MODULE',
      });
    }
    const late = () =>
      `${appName} does not work after ${startTimeoutMs} ms; it has no plan: is a controller there, and a node?`;
    await waiters.until(() => this.record?.current !== undefined && this.record.current !== null, startTimeoutMs, late);
    // Its version has its own limit.
    await waiters.until(() => this.active !== undefined || this.startFailure !== undefined);
    if (this.active === undefined) throw this.startFailure!;
    if (this.stored.isDurable) await this.stored.open();
  }

  // ---- Following the versions

  // Something is new, in the store or here.
  private review(): void {
    if (!this.isClosing) {
      try {
        const record = this.view.record(this.appName);
        // Without one, as with one that cannot be used, it stays where it is.
        if (record !== undefined) {
          this.record = record;
          this.follow(record);
        }
      } catch (error) {
        if ((error as RdmaError).code !== 'RDMA_ERR_PROTOCOL') throw error;
      }
    }
    this.waiters.review();
  }

  private follow({ current, next, codes }: VersionsRecord): void {
    const wanted = new Map<string, NextVersion | undefined>();
    if (current !== null) wanted.set(current, undefined);
    if (next !== null) wanted.set(next.version, next);
    for (const [version, coming] of wanted) {
      const gate = this.gates.get(version);
      if (gate === undefined) this.open(version, codes[version]!, coming);
      // The same name for other code: the one before ends first.
      else if (gate !== this.active && !isSameCode(gate.code, codes[version]!)) this.leave(gate);
    }
    const target = current === null ? undefined : this.gates.get(current);
    if (target?.isReady === true && target.closing === undefined) this.active = target;
    for (const gate of [...this.gates.values()])
      if (gate !== this.active && !wanted.has(gate.version) && gate.requests === 0) this.leave(gate);
  }

  private open(version: string, code: VersionCode, next: NextVersion | undefined): void {
    const { settings, secret, leaseMs, port, pipelinePort, otherDevices, address } = this;
    const limitMs = next === undefined ? 0 : next.readyWithinMs + SPARE_MS;
    const pipeline = new VersionPipeline(this.control, {
      app: versionApp(this.appName, version),
      secret,
      settings,
      startTimeoutMs: Math.max(settings.startTimeoutMs, limitMs),
      leaseMs,
      port,
      pipelinePort,
      otherDevices,
      address,
      onFailed: (reason) => this.onFailed(gate, reason),
    });
    const gate = new VersionGate(version, code, pipeline, () => this.review());
    this.gates.set(version, gate);
    pipeline.start().then(
      () => {
        gate.isReady = true;
        this.review();
      },
      (error) => this.onFailed(gate, error),
    );
  }

  // The version that takes the requests fails for all; another one is opened again, if it is still wanted.
  private onFailed(gate: VersionGate, reason: RdmaError): void {
    if (gate.closing !== undefined || this.isClosing) return;
    gate.failure = reason;
    if (gate === this.active) this.fail(reason);
    else if (this.active === undefined && gate.version === this.record?.current) this.startFailure = reason;
    else {
      gate.isReady = false;
      this.port.timers.after(RETRY_MS, () => this.leave(gate));
    }
    this.waiters.review();
  }

  private leave(gate: VersionGate): void {
    if (gate.closing !== undefined) return;
    gate.isReady = false;
    const left = () => {
      if (this.gates.get(gate.version) === gate) this.gates.delete(gate.version);
      this.review();
    };
    gate.close().then(left, left);
  }

  // ---- What a pipeline is

  /** @internal */
  protected override get spec(): WorkflowSpec {
    return this.gate.pipeline.spec;
  }

  private get gate(): VersionGate {
    if (this.active === undefined) throw this.ended ?? closedError();
    return this.active;
  }

  /** The graph of the version that takes the requests. */
  get graph(): WorkflowSpec {
    return this.spec;
  }

  /** @internal */
  protected override checkAt(bytes: number, options?: RequestOptions): void {
    this.active?.pipeline.checkAt(bytes, options);
  }

  /** @internal */
  protected override runNow(request: PipelineRequest, options?: RequestOptions): Promise<PipelineResult> {
    const { ended, active } = this;
    if (ended !== undefined || active === undefined) return Promise.reject(ended ?? closedError());
    return this.watched(options, (wanted) => active.run(request, wanted));
  }

  /** Requests in the stages, and waiting to be admitted here, of all versions. */
  override get load(): { inFlight: number; queued: number } {
    const all = [...this.gates.values()].map(({ pipeline }) => pipeline.load);
    return {
      inFlight: all.reduce((sum, { inFlight }) => sum + inFlight, 0),
      queued: all.reduce((sum, { queued }) => sum + queued, 0),
    };
  }

  /** What this client does, and what it knows of the cluster. For operators, not for hot loops. */
  status(): ClusterPipelineStatus {
    const { gate } = this;
    const versions = [...this.gates.values()].map(({ version, isReady, requests, failure }) => {
      return { version, isReady, requests, error: failure };
    });
    const status = gate.pipeline.status();
    return { ...status, control: status.control ?? this.view.failure, version: gate.version, versions };
  }

  /** @internal */
  protected override async closeAll(): Promise<void> {
    await this.stored.close();
    await Promise.all([...this.gates.values()].map((gate) => gate.close()));
    await this.view.close();
  }
}
