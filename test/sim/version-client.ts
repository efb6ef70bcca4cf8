// A client of an app in a simulated cluster: it follows versions as ClusterPipeline does, and has requests all the
// time.
//
// Invariant: new requests go to the version that it follows; each stays in the version that it began in.
import { VersionsView } from '../../src/ts/cluster/versions-view.js';
import { versionApp, type VersionsRecord } from '../../src/ts/cluster/release-records.js';
import { SimAgent, type SimCluster } from './cluster-parts.js';
import { SimVersionGate } from './version-gate.js';

export const VERSIONED = 'clip';
const RETRY_MS = 1000;

/** What a run counts of requests. */
export interface RequestCounts {
  requests: number;
}

export class SimClient extends SimAgent {
  readonly gates = new Map<string, SimVersionGate>();
  /** The version that takes its requests. */
  active: string | undefined;
  private view!: VersionsView;

  constructor(
    run: SimCluster,
    name: string,
    private readonly counts: RequestCounts,
  ) {
    super(run, name);
  }

  protected begin(): Promise<void> {
    const { port, store, run } = this;
    this.gates.clear();
    this.active = undefined;
    this.view = new VersionsView(store, { leaseMs: run.shape.leaseMs, port, onChange: () => this.look() });
    this.submitSoon();
    return Promise.resolve();
  }

  private look(): void {
    const record = this.view.isSynced ? this.view.record(VERSIONED) : undefined;
    if (record !== undefined) this.follow(record);
  }

  private follow({ current, next }: VersionsRecord): void {
    const wanted = new Set([current, next?.version].filter((version) => typeof version === 'string'));
    for (const version of wanted) if (!this.gates.has(version)) this.open(version);
    if (current !== null && this.gates.get(current)?.isReady === true) this.active = current;
    for (const [version, gate] of this.gates)
      if (version !== this.active && !wanted.has(version) && gate.requests.size === 0) this.leave(version, gate);
  }

  private open(version: string): void {
    const { run, store, port } = this;
    const gate: SimVersionGate = new SimVersionGate({
      run,
      store,
      port,
      app: versionApp(VERSIONED, version),
      onChange: () => this.look(),
      onFailed: () => {
        port.timers.after(RETRY_MS, () => version !== this.active && this.leave(version, gate));
      },
    });
    this.gates.set(version, gate);
  }

  private leave(version: string, gate: SimVersionGate): void {
    if (gate.isClosed) return;
    const left = () => {
      if (this.gates.get(version) === gate) this.gates.delete(version);
      this.look();
    };
    gate.close().then(left, (error) => this.run.world.caught(error));
  }

  private submitSoon(): void {
    const { choices } = this.run;
    this.process.later(choices.delay(20, 250), () => {
      const gate = this.active === undefined ? undefined : this.gates.get(this.active);
      if (gate?.isLive === true) {
        const request = gate.begin();
        this.counts.requests++;
        const tookMs = choices.delay(1, 900);
        this.process.later(tookMs, () => gate.end(request, tookMs));
      }
      this.submitSoon();
    });
  }

  override crash(): void {
    super.crash();
    this.gates.clear();
    this.active = undefined;
  }
}
