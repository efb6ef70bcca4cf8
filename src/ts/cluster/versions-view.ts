// What one part of a cluster sees of releases and versions.
//
// Invariant: a record that cannot be used is refused by name; what the records say is told as the store has it.
import type { RdmaError } from '../core/errors.js';
import type { ControlPort, ControlStore, Entry } from '../control/index.js';
import { View } from '../control/view.js';
import { readRelease, readVersions, type Release, RELEASES, type VersionsRecord, VERSIONS } from './release-records.js';

export interface VersionsViewOptions {
  readonly leaseMs: number;
  readonly port: ControlPort;
  /** Something is new. */
  readonly onChange: () => void;
  /** Only of this app; default: all. */
  readonly app?: string | undefined;
}

export class VersionsView {
  private readonly releases: View;
  private readonly versions: View;

  constructor(store: ControlStore, { leaseMs, port, onChange, app = '' }: VersionsViewOptions) {
    const view = (prefix: string) => new View(store, { prefix: prefix + app, leaseMs, port, onChange });
    this.releases = view(RELEASES);
    this.versions = view(VERSIONS);
  }

  /** Whether every record that is there has been seen once. */
  get isSynced(): boolean {
    return this.releases.syncs > 0 && this.versions.syncs > 0;
  }

  /** Why the store was last of no use; undefined while all goes well. */
  get failure(): RdmaError | undefined {
    return this.releases.failure ?? this.versions.failure;
  }

  /** Names of all apps that are wanted, or have versions still. */
  names(): string[] {
    const of = (view: View, prefix: string) => [...view.entries()].map(({ key }) => key.slice(prefix.length));
    return [...new Set([...of(this.releases, RELEASES), ...of(this.versions, VERSIONS)])].sort();
  }

  /** What is wanted of an app. @throws RdmaError RDMA_ERR_PROTOCOL when its record cannot be used */
  release(app: string): Release | undefined {
    const entry = this.releases.get(RELEASES + app);
    return entry === undefined ? undefined : readRelease(entry);
  }

  /** The versions of an app. @throws RdmaError RDMA_ERR_PROTOCOL when its record cannot be used */
  record(app: string): VersionsRecord | undefined {
    const entry = this.entry(app);
    return entry === undefined ? undefined : readVersions(entry);
  }

  /** The record of its versions, as the store has it. */
  entry(app: string): Entry | undefined {
    return this.versions.get(VERSIONS + app);
  }

  async close(): Promise<void> {
    await Promise.all([this.releases.close(), this.versions.close()]);
  }
}
