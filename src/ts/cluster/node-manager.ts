// A node of a cluster: it advertises its resources, and runs the places that plans assign to it.
//
// Invariant: it meets the controller only in the store. While the store is away it goes on with the last plans that it
// knows, and ends nothing. If another node has taken its name meanwhile, or its places are elsewhere, it sees that as
// soon as the store is back.
import os from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { TlsIdentity } from '../connect/index.js';
import { tellerOf } from '../core/event-teller.js';
import type { RdmaError } from '../core/errors.js';
import type { Secret } from '../core/secret.js';
import { checkFunction, checkInteger, checkObject, checkString } from '../core/validate.js';
import {
  type ControlPort,
  type ControlStore,
  type Json,
  Members,
  type Membership,
  systemControlPort,
} from '../control/index.js';
import { checkNode, type NodeInfo, type NodeInfoInput } from '../planner/policies.js';
import { AppHost, type AppHostOptions, type Hosting } from './app-host.js';
import { asJson, checkClusterSecret, checkName, NODES, type PlanRecord, REPORTS } from './cluster-records.js';
import { ClusterView } from './cluster-view.js';
import { checkPipelineOptions, type LocalPipelineOptions } from './local-pipeline-options.js';
import { deviceSettings, type NodeDevices, networkDevices, nodeDevices } from './node-devices.js';
import type { Restart } from './place-state.js';
import type { PlacesSettings } from './places.js';
import { checkClaims, machineMemoryBytes } from './machine-memory.js';
import { checkSecretProof } from './secret-proof.js';
import { Troubles } from './troubles.js';

/** What a node says of itself. */
export type NodeEvent =
  | { readonly type: 'joined'; readonly node: NodeInfo; readonly devices: readonly string[] }
  | { readonly type: 'restart'; readonly app: string; readonly restart: Restart }
  | { readonly type: 'trouble'; readonly error: RdmaError };

/** How a node is started. */
export interface NodeOptions
  extends Pick<LocalPipelineOptions, 'heartbeatMs' | 'maxRestarts' | 'pollUs' | 'reconnectMs' | 'startTimeoutMs'> {
  /** Unique in the cluster: 1 to 64 letters, digits, `-`, `_` and `=`. */
  readonly name: string;
  /** What all of the cluster know, 8 to 4096 characters. */
  readonly secret: string;
  /** Names of the devices that its places listen on, the one to prefer first; default: all that work. */
  readonly devices?: readonly string[];
  /** The address of this host that other hosts reach its places by; default: they reach none. */
  readonly address?: string | undefined;
  /**
   * The folder of this node's certificate, as `onepiece cluster init` makes it: places connect by TLS 1.3 between hosts
   * then, and each proves that it belongs to the cluster; default: no TLS. All of a cluster have one, or none.
   */
  readonly tlsDir?: string | undefined;
  /** What it has; by default this machine's cores and memory, and no GPUs. */
  readonly has?: Omit<NodeInfoInput, 'name'>;
  /** Of its lease, in ms; default 3000. */
  readonly leaseMs?: number;
  readonly onEvent?: (event: NodeEvent) => void;
  readonly port?: ControlPort;
}

/** Changes of reports that come so close together are written together. */
const REPORT_MS = 10;
const RETRY_MS = 300;

/** Made by {@link NodeManager.start}. */
export class NodeManager {
  /** What it advertises. */
  readonly info: NodeInfo;
  private readonly secret: Secret<string>;
  private readonly settings: PlacesSettings;
  private readonly leaseMs: number;
  private readonly port: ControlPort;
  private readonly run: string;
  private readonly tell: (event: NodeEvent) => void;
  private readonly members: Members;
  private readonly view: ClusterView;
  private readonly hosts = new Map<string, Hosting>();
  private readonly followed = new Map<string, PlanRecord>(); // the last record that an app got
  private readonly written = new Map<string, Json>(); // the report of an app that the store has
  private readonly doubtful = new Set<string>(); // apps whose report in the store differs from ours
  private readonly troubles = new Troubles((error) => {
    if (!this.isClosed) this.tell({ type: 'trouble', error });
  });
  private ending: Promise<unknown> = Promise.resolve();
  private membership: Membership | undefined;
  private writing = false;
  private reportsDue = false;
  private isClosed = false;

  private constructor(
    private readonly store: ControlStore,
    options: NodeOptions,
    private readonly makeHost: (options: AppHostOptions) => Hosting,
    devices: NodeDevices,
  ) {
    const given = checkObject<NodeOptions>('options', options);
    const {
      leaseMs = 3000,
      onEvent = () => {},
      port = systemControlPort,
      has,
      secret,
      name: _,
      devices: _wanted,
      address,
      tlsDir,
      ...more
    } = given;
    const name = checkName('name', given.name);
    const cores = os.availableParallelism();
    const memoryBytes = machineMemoryBytes();
    const own = { host: os.hostname(), cores, memoryBytes, devices: networkDevices(devices) };
    this.info = checkNode({ ...own, ...has, name });
    this.secret = checkClusterSecret(secret);
    this.leaseMs = checkInteger('leaseMs', leaseMs, 50, 600_000);
    this.port = port;
    this.run = port.id();
    this.tell = tellerOf('onEvent', checkFunction('onEvent', onEvent));
    const { device, otherDevices } = deviceSettings(devices);
    if (address !== undefined) checkString('address', address, { minLength: 1, maxLength: 255 });
    this.settings = { ...checkPipelineOptions({ ...more, device }), otherDevices, listenHost: address, tlsDir };
    // What is wrong with it is said here, not by each process.
    if (tlsDir !== undefined) TlsIdentity.read(tlsDir);
    this.members = new Members(store, { prefix: NODES, leaseMs: this.leaseMs, port });
    this.view = new ClusterView(store, { leaseMs: this.leaseMs, port, onChange: () => this.review() });
  }

  /**
   * Joins the cluster, and runs what it is given from now on.
   *
   * @throws RdmaError RDMA_ERR_CONFLICT when another node has the name; RDMA_ERR_UNAUTHENTICATED when the secret is
   *   another cluster's; RDMA_ERR_TIMEOUT when the store does not answer; RDMA_ERR_NO_DEVICE; RDMA_ERR_INVALID_ARGUMENT,
   *   also for more memory than this machine has
   */
  static async start(store: ControlStore, options: NodeOptions): Promise<NodeManager> {
    const { leaseMs = 3000, secret, has, devices } = checkObject<NodeOptions>('options', options);
    checkClaims(has?.memoryBytes);
    await checkSecretProof(store, checkClusterSecret(secret), 3 * checkInteger('leaseMs', leaseMs, 50, 600_000));
    return NodeManager.startOn(store, options, (own) => new AppHost(own), nodeDevices(devices));
  }

  /** @internal A node with processes of another kind: those of the simulation. */
  static startWith(
    store: ControlStore,
    options: NodeOptions,
    makeHost: (options: AppHostOptions) => Hosting,
  ): Promise<NodeManager> {
    const { devices } = options;
    const known: NodeDevices = devices === undefined ? [{ name: 'soft0', fabric: '' }] : nodeDevices(devices);
    return NodeManager.startOn(store, options, makeHost, known);
  }

  private static async startOn(
    store: ControlStore,
    options: NodeOptions,
    makeHost: (options: AppHostOptions) => Hosting,
    devices: NodeDevices,
  ): Promise<NodeManager> {
    const node = new NodeManager(store, options, makeHost, devices);
    try {
      node.membership = await node.members.join(node.info.name, { ...Object(asJson(node.info)), run: node.run });
    } catch (error) {
      await node.close();
      throw error;
    }
    node.tell({ type: 'joined', node: node.info, devices: devices.map(({ name }) => name) });
    node.review();
    return node;
  }

  /** The processes of its places. */
  get processes(): { app: string; place: string; pid: number }[] {
    return [...this.hosts].flatMap(([app, host]) =>
      Object.entries(host.report()).flatMap(([place, { pid }]) => (pid === null ? [] : [{ app, place, pid }])),
    );
  }

  // Something is new in the store.
  private review(): void {
    if (this.isClosed || this.membership === undefined || !this.view.isSynced) return;
    const names = new Set(this.view.appNames());
    for (const name of names) {
      try {
        this.lookAt(name);
      } catch (error) {
        this.troubles.add(name, error);
      }
    }
    for (const [name, host] of this.hosts) if (!names.has(name)) this.end(name, host);
  }

  private lookAt(name: string): void {
    const app = this.view.app(name)!;
    const record = this.view.record(app);
    this.checkWritten(name);
    if (record === undefined || this.isOlder(name, record)) return;
    let host = this.hosts.get(name);
    // Other code is another app, though it has the name.
    if (host !== undefined && (host.app.hash !== app.hash || host.app.module !== app.module)) {
      this.end(name, host);
      host = undefined;
    }
    const isMine = Object.values(record.assignments).some(({ node }) => node === this.info.name);
    if (host === undefined) {
      if (!isMine) return;
      host = this.host(name);
    }
    if (isDeepStrictEqual(this.followed.get(name), record)) host.lookAround();
    else {
      this.followed.set(name, record);
      host.follow(record);
    }
  }

  // A store that died may have forgotten its last plans: the controller goes on above those that reports and gateways
  // tell. Of one under which nothing runs here nobody tells, and it holds nothing.
  private isOlder(name: string, { plan }: PlanRecord): boolean {
    const host = this.hosts.get(name);
    if (host === undefined || Object.keys(host.report()).length === 0) return false;
    return (plan?.number ?? 0) < (this.followed.get(name)?.plan?.number ?? 0);
  }

  private host(name: string): Hosting {
    const host = this.makeHost({
      app: this.view.app(name)!,
      node: this.info.name,
      run: this.run,
      secret: this.secret,
      settings: this.settings,
      gpuCount: this.info.gpus.length,
      gateways: () => this.view.gatewaysOf(name),
      addressOf: (place) => {
        const app = this.view.app(name);
        const record = app === undefined ? undefined : this.view.record(app);
        return record === undefined ? undefined : this.view.addressOf(name, record, place);
      },
      onReport: () => this.reportSoon(),
      onRestart: (restart) => this.tell({ type: 'restart', app: name, restart }),
    });
    this.hosts.set(name, host);
    return host;
  }

  private end(name: string, host: Hosting): void {
    this.hosts.delete(name);
    this.followed.delete(name);
    const ended = host.close();
    this.ending = Promise.all([this.ending, ended]);
    this.reportSoon();
  }

  // ---- Reports

  private reportSoon(): void {
    this.reportsDue = true;
    if (this.writing || this.isClosed) return;
    this.writing = true;
    this.port.timers.after(REPORT_MS, () => {
      void this.writeReports().finally(() => {
        this.writing = false;
        if (this.reportsDue) this.reportSoon();
      });
    });
  }

  // A store that died may have forgotten it, and a write that was given up may have come after it.
  private checkWritten(name: string): void {
    const written = this.written.get(name);
    if (written === undefined || isDeepStrictEqual(this.view.reportsOf(name, this.info.name), written)) return;
    this.doubtful.add(name);
    this.reportSoon();
  }

  private async writeReports(): Promise<void> {
    this.reportsDue = false;
    for (const name of new Set([...this.hosts.keys(), ...this.written.keys()])) {
      const host = this.hosts.get(name);
      const report = host === undefined ? undefined : asJson(host.report());
      if (isDeepStrictEqual(this.written.get(name), report) && !this.doubtful.has(name)) continue;
      this.doubtful.delete(name);
      const key = `${REPORTS}${this.info.name}.${name}`;
      try {
        if (report === undefined) {
          await this.store.delete(key);
          this.written.delete(name);
        } else {
          await this.store.put(key, report);
          this.written.set(name, report);
        }
      } catch (error) {
        this.reportsDue = true;
        this.troubles.add(key, error);
        await new Promise<void>((resolve) => this.port.timers.after(RETRY_MS, resolve));
        return;
      }
    }
  }

  /** Leaves the cluster and ends its processes at once. Drain the node first where requests are under way. */
  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    await Promise.all([...this.hosts.values()].map((host) => host.close()));
    await this.ending;
    await this.membership?.leave().catch(() => {});
    for (const name of this.written.keys()) {
      await this.store.delete(`${REPORTS}${this.info.name}.${name}`).catch(() => {});
    }
    await Promise.all([this.members.close(), this.view.close()]);
  }
}
