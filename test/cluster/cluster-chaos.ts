// Chaos on a cluster of real processes: nodes, their workers, the leader and nats-server are killed and stopped, nodes
// are drained, stages scaled, gateways replaced, while requests come all the time.
//
// Invariant: every request is accounted for. Which blows come, on whom, and for how long follows from the seed; the
// next one comes when so many requests have ended, not at a time.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ClusterPipeline, deploy, drainNode, overview, scaleApp } from '../../src/ts/cluster/index.js';
import { type ControlStore, natsControlStore } from '../../src/ts/control/index.js';
import { NatsServer } from '../control/nats-server.js';
import { RedisServer } from '../jobs/redis-server.js';
import { DEVICE, until, within } from '../pipeline/support.js';
import { ClusterLoad } from './cluster-chaos-load.js';
import { type ClusterBlow, type ClusterFault, clusterBlow } from './cluster-chaos-plan.js';
import { clusterChaos } from './cluster-chaos-workflow.js';
import { ClusterGateways } from './cluster-gateway.js';
import { ClusterNode } from './cluster-node.js';

const SECRET = 'a secret of the cluster';
const LEASE_MS = 1500;
/** Gateways that are killed and stopped: processes of their own that share a store. One of them is spared at a time. */
const JOB_GATEWAYS = 2;
const JOB_CLIENTS = 2;
export interface ClusterChaosOptions {
  readonly seed: number;
  /** No new blow after so long, in ms, whatever is left of them. */
  readonly forMs: number;
  /** No more blows than that; left out: as many as there is time for. */
  readonly faults?: number | undefined;
  /** How many nodes, 2 to 5. */
  readonly nodes: number;
  readonly gateways: number;
  readonly clients: number;
  /** Requests that end between two blows, on average. */
  readonly between: number;
  readonly only?: readonly ClusterFault[] | undefined;
  readonly onBlow?: ((blow: string) => void) | undefined;
  /** Called when something is wrong, with what there is, before all of it is ended. */
  readonly onProblem?: ((state: string) => Promise<void>) | undefined;
}

export interface ClusterChaosSummary {
  readonly test: 'cluster-chaos';
  readonly seed: number;
  readonly faults: number;
  readonly requests: number;
  /** Of them: jobs that a gateway with a store has accepted. Whatever is killed, they have an outcome. */
  readonly accepted: number;
  /** Requests that ended with an error. */
  readonly lost: number;
  /** A piece, or an answer, that came again. */
  readonly twice: number;
  readonly wrong: number;
  /** Requests that have not ended long after the last blow. */
  readonly hung: number;
  readonly byFault: Readonly<Record<string, number>>;
  /** What is behind the figures, and the blows before it. */
  readonly problems: readonly string[];
}

/** Plays one run. */
export async function runClusterChaos(options: ClusterChaosOptions): Promise<ClusterChaosSummary> {
  const chaos = new Chaos(options);
  try {
    return await chaos.play();
  } finally {
    await chaos.end();
  }
}

class Chaos {
  private readonly folder = mkdtempSync(join(tmpdir(), 'onepiece-chaos-'));
  private readonly secretFile = join(this.folder, 'secret');
  private readonly nodes = new Map<string, ClusterNode>();
  private readonly gateways: ClusterPipeline[] = [];
  private readonly ends: Promise<unknown>[] = [];
  private readonly byFault: Record<string, number> = {};
  private readonly busy = new Set<string>(); // nodes that something is done to
  private nats!: NatsServer;
  private control!: ControlStore;
  private load!: ClusterLoad;
  private redis!: RedisServer;
  private jobs: ClusterGateways | undefined;
  private isStoreBusy = false;
  private isJobsBusy = false;
  private isGatewayBusy = false;

  constructor(private readonly options: ClusterChaosOptions) {}

  async play(): Promise<ClusterChaosSummary> {
    const { seed, forMs, clients, between, nodes, gateways, onBlow = () => {} } = this.options;
    const most = this.options.faults ?? Number.POSITIVE_INFINITY;
    const blows = { seed, leaseMs: LEASE_MS, between, only: this.options.only };
    writeFileSync(this.secretFile, SECRET, { mode: 0o600 });
    this.nats = await NatsServer.start();
    this.redis = await RedisServer.start();
    await Promise.all(Array.from({ length: nodes }, (_, i) => this.startNode(`node-${i}`)));
    this.control = await natsControlStore({ servers: this.nats.url });
    await deploy(this.control, clusterChaos);
    for (let i = 0; i < gateways; i++) this.gateways.push(await this.connect());
    this.load = new ClusterLoad(() => this.gateways, clients);
    const task = { nats: this.nats.url, redis: this.redis.url, secret: SECRET, leaseMs: LEASE_MS };
    this.jobs = new ClusterGateways(task, this.load);
    await this.jobs.start(JOB_GATEWAYS, JOB_CLIENTS);
    await this.load.more(between);
    const endMs = performance.now() + forMs;
    for (let n = 0; performance.now() < endMs && this.faults < most && this.load.isSound; n++) {
      const blow = clusterBlow(n, blows);
      const words = await this.strike(blow);
      if (words !== undefined) {
        this.load.note(words);
        onBlow(`${words}; ${this.load.ended} requests`);
      }
      await this.load.more(blow.requestsAfter);
    }
    await within('the end of all blows', Promise.all(this.ends), 120_000).catch((error) =>
      this.load.failed(String(error)),
    );
    // All is well again: it must go on.
    if (this.load.isSound) await this.load.more(3 * between);
    if (this.load.isSound) await this.jobs.stop();
    if (this.load.isSound) await this.load.stop();
    if (!this.load.isSound) await this.options.onProblem?.(await this.state());
    const { requests, lost, twice, wrong, hung, problems } = this.load;
    const { byFault, faults } = this;
    const { accepted } = this.jobs;
    return { test: 'cluster-chaos', seed, faults, requests, accepted, lost, twice, wrong, hung, byFault, problems };
  }

  // What there is, for people.
  private async state(): Promise<string> {
    const seen = await within('an overview', overview(this.control)).catch(String);
    const nodes = [...this.nodes.values()].map(({ name, child, hasEnded, said }) => {
      const workers = hasEnded ? [] : ClusterNode.workers(child);
      return { name, pid: child.pid, hasEnded, workers, said };
    });
    const gateways = await this.jobs?.describe();
    const open = this.load.openNumbers;
    return JSON.stringify(
      { seen, nodes, open, gateways, nats: this.nats.url, control: this.load.state() },
      undefined,
      1,
    );
  }

  private async startNode(name: string): Promise<void> {
    const { secretFile } = this;
    this.nodes.set(name, await ClusterNode.start({ name, url: this.nats.url, secretFile, leaseMs: LEASE_MS }));
  }

  // As a supervisor does: while the store is away, nobody can say that the one before it is dead.
  private async startAgain(name: string): Promise<void> {
    await this.whileStoreIsBack(() => this.startNode(name));
  }

  private connect(): Promise<ClusterPipeline> {
    const options = { app: clusterChaos.name, secret: SECRET, devices: [DEVICE], leaseMs: LEASE_MS };
    return within('a gateway', ClusterPipeline.connect(this.control, { ...options, startTimeoutMs: 110_000 }), 120_000);
  }

  private get faults(): number {
    return Object.values(this.byFault).reduce((sum, count) => sum + count, 0);
  }

  // Does something; what takes longer goes on beside the next blows. undefined: it cannot be done now.
  private async strike({ fault, forMs, victim, instances }: ClusterBlow): Promise<string | undefined> {
    const [verb, what] = fault.split(' ');
    let words: string | undefined;
    if (what === 'store') words = this.strikeStore(verb!, forMs / 2);
    else if (what === 'worker') words = this.strikeWorker(verb!, victim, Math.min(forMs, 1000));
    else if (fault === 'replace gateway') words = this.replaceGateway();
    else if (what === 'gateway') words = this.strikeGateway(verb!, victim, forMs);
    else if (fault === 'scale') words = await this.scale(victim, instances);
    else words = this.strikeNode(verb!, what === 'leader' ? await this.leader() : this.anyNode(victim), forMs);
    if (words !== undefined) this.byFault[fault] = (this.byFault[fault] ?? 0) + 1;
    return words;
  }

  // What goes on beside the next blows; a failure of it is one of the run.
  private track(work: Promise<unknown>): void {
    this.ends.push(work.catch((error) => this.load.failed(`${String(error)} ${this.load.state()}`)));
  }

  // Undone later.
  private later(afterMs: number, work: () => Promise<unknown>): void {
    this.track(sleep(afterMs).then(work));
  }

  // One that nothing is done to; one node is always spared.
  private anyNode(draw: number): string | undefined {
    const spare = [...this.nodes.keys()].filter((name) => !this.busy.has(name)).sort();
    return spare.length < 2 ? undefined : spare[draw % spare.length];
  }

  private async leader(): Promise<string | undefined> {
    if (this.isStoreBusy || this.busy.size + 1 >= this.nodes.size) return undefined;
    const seen = await overview(this.control).catch(() => undefined);
    const name = seen?.leader?.name;
    return name === undefined || this.busy.has(name) ? undefined : name;
  }

  private strikeNode(verb: string, name: string | undefined, afterMs: number): string | undefined {
    const node = name === undefined ? undefined : this.nodes.get(name);
    if (node === undefined || name === undefined) return undefined;
    this.busy.add(name);
    const undone = () => this.busy.delete(name);
    if (verb === 'stop') {
      node.signal('SIGSTOP');
      this.later(afterMs, async () => {
        node.signal('SIGCONT');
        undone();
      });
    } else if (verb === 'drain') {
      this.track(this.drain(name, afterMs).then(undone));
    } else {
      const end = verb === 'end' ? this.endNode(node) : node.kill();
      this.track(
        end
          .then(() => sleep(afterMs))
          .then(() => this.startAgain(name))
          .then(undone),
      );
    }
    return `${verb} ${name} for ${afterMs} ms`;
  }

  private async endNode(node: ClusterNode): Promise<void> {
    node.signal('SIGTERM');
    await until(`the end of ${node.name}`, () => node.hasEnded, 60_000);
  }

  private async drain(name: string, afterMs: number): Promise<void> {
    await this.whileStoreIsBack(() => drainNode(this.control, name));
    await sleep(afterMs);
    await this.whileStoreIsBack(() => drainNode(this.control, name, false));
  }

  // An operator whose command fails because the store is away gives it again.
  private async whileStoreIsBack(command: () => Promise<unknown>): Promise<void> {
    for (let tries = 0; ; tries++) {
      try {
        await command();
        return;
      } catch (error) {
        if (tries === 200) throw error;
        await sleep(100);
      }
    }
  }

  private strikeWorker(verb: string, draw: number, forMs: number): string | undefined {
    const pids = [...this.nodes].flatMap(([name, { child }]) =>
      this.busy.has(name) ? [] : ClusterNode.workers(child),
    );
    const pid = pids[draw % Math.max(1, pids.length)];
    if (pid === undefined) return undefined;
    process.kill(pid, verb === 'stop' ? 'SIGSTOP' : 'SIGKILL');
    if (verb === 'stop') this.later(forMs, async () => continueIfThere(pid));
    return `${verb} worker ${pid} for ${forMs} ms`;
  }

  private strikeStore(verb: string, afterMs: number): string | undefined {
    if (this.isStoreBusy) return undefined;
    this.isStoreBusy = true;
    const back = async () => {
      if (verb === 'stop') this.nats.signal('SIGCONT');
      else await this.nats.run();
      this.isStoreBusy = false;
    };
    if (verb === 'stop') this.nats.signal('SIGSTOP');
    else this.track(this.nats.kill());
    this.later(afterMs, back);
    return `${verb} store for ${afterMs} ms`;
  }

  private async scale(stage: number, instances: number): Promise<string> {
    const name = ['double', 'square', 'total'][stage % 3]!;
    this.track(this.whileStoreIsBack(() => scaleApp(this.control, clusterChaos.name, name, instances)));
    return `scale ${name} to ${instances}`;
  }

  // Another one takes the requests; the old one ends when it has none.
  private replaceGateway(): string | undefined {
    if (this.isGatewayBusy) return undefined;
    this.isGatewayBusy = true;
    const replace = async () => {
      const fresh = await this.connect();
      const old = this.gateways.shift()!;
      this.gateways.push(fresh);
      const isIdle = () => old.load.inFlight + old.load.queued === 0;
      await until('the requests of an old gateway', isIdle, 60_000).catch((error) => {
        throw new Error(`${error.message}: ${ClusterLoad.stateOf(old)}`);
      });
      await within('its close', old.close(), 20_000);
      this.isGatewayBusy = false;
    };
    this.track(replace());
    return 'replace a gateway';
  }

  // While the store is away no gateway can join.
  private strikeGateway(verb: string, draw: number, forMs: number): string | undefined {
    const index = this.jobs!.candidate(draw);
    if (index === undefined || this.isJobsBusy) return undefined;
    this.isJobsBusy = true;
    const undone = () => {
      this.isJobsBusy = false;
    };
    const back = async () => {
      if (verb === 'stop') this.jobs!.signal(index, 'SIGCONT');
      else await this.whileStoreIsBack(() => this.jobs!.replace(index));
    };
    if (verb === 'stop') this.jobs!.signal(index, 'SIGSTOP');
    else this.track(this.jobs!.kill(index));
    this.track(sleep(forMs).then(back).then(undone));
    return `${verb} gateway ${index} for ${forMs} ms`;
  }

  async end(): Promise<void> {
    const quietly = (work: Promise<unknown>) => work.catch(() => {});
    this.load?.abandon();
    await quietly(within('the blows', Promise.allSettled(this.ends), 60_000));
    await this.jobs?.end();
    await Promise.all(this.gateways.map((gateway) => quietly(within('a close', gateway.close(), 20_000))));
    const pids = [...this.nodes.values()].flatMap(({ child }) => ClusterNode.workers(child));
    await Promise.all([...this.nodes.values()].map((node) => node.kill()));
    await quietly(until('the end of the workers', () => !pids.some(ClusterNode.isThere), 20_000));
    await quietly(this.control?.close() ?? Promise.resolve());
    await this.nats?.stop();
    await this.redis?.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function continueIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGCONT');
  } catch (error) {
    // It was replaced meanwhile.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
