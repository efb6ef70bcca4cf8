// The releases and versions of apps, as one component of a cluster sees them.
//
// Invariant: an unusable record is refused by name; a record is gone when somebody has removed it, not when the store
// was emptied.
import type { RdmaError } from '../core/errors.js';
import type { ControlPort, ControlStore, Entry } from '../control/index.js';
import { AppRecords } from './app-records.js';
import { readRelease, readVersions, type Release, RELEASES, type VersionsRecord, VERSIONS } from './release-records.js';

export interface VersionsViewOptions {
  readonly leaseMs: number;
  readonly port: ControlPort;
  /** Something is new. */
  readonly onChange: () => void;
}

export class VersionsView {
  private readonly releases: AppRecords;
  private readonly versions: AppRecords;

  constructor(store: ControlStore, { leaseMs, port, onChange }: VersionsViewOptions) {
    this.releases = new AppRecords(store, { prefix: RELEASES, leaseMs, port, onChange });
    this.versions = new AppRecords(store, { prefix: VERSIONS, leaseMs, port, onChange });
  }

  /** Whether every record that is there has been seen once. */
  get isSynced(): boolean {
    return this.releases.isSynced && this.versions.isSynced;
  }

  /** Why the store was last of no use; undefined while all goes well. */
  get failure(): RdmaError | undefined {
    return this.releases.failure ?? this.versions.failure;
  }

  /** Names of all apps that are wanted, or have versions still. */
  names(): string[] {
    return [...new Set([...this.releases.names(), ...this.versions.names()])].sort();
  }

  /** What is wanted of an app. @throws RdmaError RDMA_ERR_PROTOCOL when its record cannot be used */
  release(app: string): Release | undefined {
    const entry = this.releases.get(app);
    return entry === undefined ? undefined : readRelease(entry);
  }

  /** The versions of an app. @throws RdmaError RDMA_ERR_PROTOCOL when its record cannot be used */
  record(app: string): VersionsRecord | undefined {
    const entry = this.entry(app);
    return entry === undefined ? undefined : readVersions(entry);
  }

  /** The record of its versions, as the store has it. */
  entry(app: string): Entry | undefined {
    return this.versions.get(app);
  }

  async close(): Promise<void> {
    await Promise.all([this.releases.close(), this.versions.close()]);
  }
}
