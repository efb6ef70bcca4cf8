// The apps of a cluster as one component sees them: their records, and the addresses of their places and gateways.
//
// Invariant: for a place, only the report of the node and epoch that the record assigns counts. A malformed report says
// nothing of any place.
import type { RdmaError } from '../core/errors.js';
import { type ControlPort, type ControlStore, type Entry, Members } from '../control/index.js';
import { View } from '../control/view.js';
import type { PlaceAddress } from '../pipeline/index.js';
import { AppRecords } from './app-records.js';
import {
  type App,
  type GatewayData,
  GATEWAYS,
  gatewayKey,
  type NodeReport,
  type PlaceReport,
  PLANS,
  type PlanRecord,
  readApp,
  readGateway,
  readPlanRecord,
  readReport,
  REPORTS,
} from './cluster-records.js';

export interface ClusterViewOptions {
  readonly leaseMs: number;
  readonly port: ControlPort;
  /** Something is new. */
  readonly onChange: () => void;
}

export class ClusterView {
  readonly gateways: Members;
  private readonly apps: AppRecords;
  private readonly views: Record<'plans' | 'reports', View>;

  constructor(store: ControlStore, { leaseMs, port, onChange }: ClusterViewOptions) {
    const view = (prefix: string) => new View(store, { prefix, leaseMs, port, onChange });
    this.apps = new AppRecords(store, { leaseMs, port, onChange });
    this.views = { plans: view(PLANS), reports: view(REPORTS) };
    this.gateways = new Members(store, { prefix: GATEWAYS, leaseMs, port, onEvent: onChange });
  }

  /** Whether every record that is there has been seen once. */
  get isSynced(): boolean {
    return this.apps.isSynced && Object.values(this.views).every(({ syncs }) => syncs > 0);
  }

  /** Why the store was last of no use; undefined while all goes well. */
  get failure(): RdmaError | undefined {
    const failures = [this.apps, ...Object.values(this.views)].map(({ failure }) => failure);
    return failures.find((failure) => failure !== undefined) ?? this.gateways.lastError;
  }

  /** Names of all apps. */
  appNames(): string[] {
    return this.apps.names();
  }

  /** @throws RdmaError RDMA_ERR_PROTOCOL when its record cannot be used */
  app(name: string): App | undefined {
    const entry = this.apps.get(name);
    return entry === undefined ? undefined : readApp(entry);
  }

  /** @throws RdmaError RDMA_ERR_PROTOCOL when its record cannot be used */
  record({ name, spec }: App): PlanRecord | undefined {
    const entry = this.planEntry(name);
    return entry === undefined ? undefined : readPlanRecord(spec, entry);
  }

  /** What is deployed as an app, as the store has it. */
  appEntry(app: string): Entry | undefined {
    return this.apps.get(app);
  }

  /** The record of an app, as the store has it. */
  planEntry(app: string): Entry | undefined {
    return this.views.plans.get(PLANS + app);
  }

  /** The records of apps that are not deployed any more, as the store has them. */
  orphanedPlans(): Entry[] {
    const plans = [...this.views.plans.entries()];
    return plans.filter(({ key }) => this.apps.get(key.slice(PLANS.length)) === undefined);
  }

  /** The gateways of an app that are there. */
  gatewaysOf(app: string): GatewayData[] {
    const all = this.gateways.list().flatMap(({ data }) => readGateway(data) ?? []);
    return all.filter((gateway) => gateway.app === app);
  }

  /** What a node has said of an app; undefined: nothing. @throws RdmaError RDMA_ERR_PROTOCOL */
  reportsOf(app: string, node: string): NodeReport | undefined {
    const entry = this.views.reports.get(`${REPORTS}${node}.${app}`);
    return entry === undefined ? undefined : readReport(entry);
  }

  /** What any node has said of an app, also one that is lost. */
  allReportsOf(app: string): NodeReport[] {
    const entries = [...this.views.reports.entries()].filter(({ key }) => key.endsWith(`.${app}`));
    return entries.map(readable);
  }

  /** How a place does, as far as its node has said under this record. */
  report(app: string, { assignments }: PlanRecord, place: string): PlaceReport | undefined {
    const assignment = assignments[place];
    if (assignment === undefined) return undefined;
    const entry = this.views.reports.get(`${REPORTS}${assignment.node}.${app}`);
    const report = entry === undefined ? undefined : readable(entry)[place];
    return report?.epoch === assignment.epoch ? report : undefined;
  }

  /** Where a place, or a gateway, is. */
  addressOf(app: string, record: PlanRecord, place: string): PlaceAddress | undefined {
    const [stage, number] = place.split('/');
    if (stage !== 'gateway') return this.report(app, record, place)?.address ?? undefined;
    const member = this.gateways.get(gatewayKey(app, Number(number)));
    return (member === undefined ? undefined : readGateway(member.data)?.address) ?? undefined;
  }

  async close(): Promise<void> {
    await Promise.all([
      this.gateways.close(),
      this.apps.close(),
      ...Object.values(this.views).map((view) => view.close()),
    ]);
  }
}

function readable(entry: Entry): NodeReport {
  try {
    return readReport(entry);
  } catch {
    return {};
  }
}
