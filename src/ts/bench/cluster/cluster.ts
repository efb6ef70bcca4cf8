// A cluster of real processes on this machine: its own nats-server, nodes as `onepiece node` runs them, one gateway
// here.
//
// Invariant: only processes that were started here are signalled, by their ids; all are gone when close() has ended,
// and the kernel ends them with this process (setpriv(1)).
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ClusterPipeline, deploy } from '../../cluster/index.js';
import { LEADER } from '../../cluster/cluster-records.js';
import { readLeaseRecord } from '../../control/lease-record.js';
import { type ControlStore, natsControlStore } from '../../control/index.js';
import { RdmaError } from '../../core/errors.js';
import { findProgram } from '../kit/find-program.js';
import { ServerProcess } from '../kit/server-process.js';
import { hasEnded, killed } from '../kit/kill.js';
import { freePort } from '../kit/tcp-port.js';
import { checkAnswer, type ClusterSubject } from './load.js';
import { type ClusterBenchSettings, RUNS_FILE } from './settings.js';
import { benchCluster } from './workflow.js';

const MAIN = join(__dirname, '../../cli/main.js');
const NODE_MS = 60_000;
const LOOK_MS = 5;
const SHOWN_CHARACTERS = 500;
export const NATS_REMEDY = 'apt-get install nats-server';

/** Looks until something is so. @throws RdmaError RDMA_ERR_TIMEOUT, RDMA_ERR_ABORTED */
export async function until(what: string, isSo: () => boolean | Promise<boolean>, ms: number, signal: AbortSignal) {
  const endMs = performance.now() + ms;
  while (!(await isSo())) {
    if (signal.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the measurement was stopped');
    if (performance.now() > endMs) throw new RdmaError('RDMA_ERR_TIMEOUT', `${what} took more than ${ms} ms`);
    await sleep(LOOK_MS);
  }
}

interface NodeProcess {
  readonly child: ChildProcess;
  said: string;
}

export class BenchCluster {
  readonly runsFile: string;
  private readonly secret = randomBytes(24).toString('hex');
  private readonly secretFile: string;
  private readonly nodes = new Map<string, NodeProcess>();
  private nats: ServerProcess | undefined;
  private port = 0;
  control!: ControlStore;
  pipeline!: ClusterPipeline;

  private constructor(
    private readonly settings: ClusterBenchSettings,
    /** A scratch folder, which others remove. */
    readonly folder: string,
    private readonly signal: AbortSignal,
  ) {
    this.runsFile = join(folder, 'runs');
    this.secretFile = join(folder, 'secret');
  }

  /** Starts all of it; answers when the workflow works. @throws RdmaError; nothing is left running then */
  static async start(settings: ClusterBenchSettings, folder: string, signal: AbortSignal): Promise<BenchCluster> {
    const cluster = new BenchCluster(settings, folder, signal);
    try {
      await cluster.open();
      return cluster;
    } catch (error) {
      await cluster.close();
      throw error;
    }
  }

  private async open(): Promise<void> {
    const { settings, secretFile, runsFile } = this;
    writeFileSync(secretFile, this.secret, { mode: 0o600 });
    writeFileSync(runsFile, '');
    this.port = await freePort();
    await this.startNats();
    await Promise.all(Array.from({ length: settings.nodes }, (_, i) => this.startNode(`node-${i}`)));
    this.control = await natsControlStore({ servers: this.url });
    await deploy(this.control, benchCluster);
    this.pipeline = await this.connect(benchCluster.name);
  }

  /** Connects to an app; the caller closes the pipeline. @throws as ClusterPipeline.connect */
  connect(app: string): Promise<ClusterPipeline> {
    const { device, leaseMs } = this.settings;
    return ClusterPipeline.connect(this.control, { app, secret: this.secret, devices: [device], leaseMs });
  }

  private get url(): string {
    return `nats://127.0.0.1:${this.port}`;
  }

  /** Starts nats-server, with what it had on disk. */
  async startNats(): Promise<void> {
    const { port, folder, signal } = this;
    const file = join(folder, 'nats.conf');
    writeFileSync(file, `listen: "127.0.0.1:${port}"\njetstream { store_dir: "${join(folder, 'nats')}" }\n`);
    const program = findProgram('nats-server', NATS_REMEDY);
    this.nats = await ServerProcess.start(program, ['-c', file], { host: '127.0.0.1', port }, signal);
  }

  /** Kills it; its disk stays. */
  async killNats(): Promise<void> {
    await this.nats?.close();
    this.nats = undefined;
  }

  async startNode(name: string): Promise<void> {
    const { settings, secretFile, runsFile } = this;
    const args = ['node', '--control', this.url, '--secret-file', secretFile, '--name', name];
    const more = ['--device', settings.device, '--lease-ms', String(settings.leaseMs), '--json'];
    const setpriv = findProgram('setpriv', 'apt-get install util-linux');
    const child = spawn(setpriv, ['--pdeathsig', 'KILL', process.execPath, MAIN, ...args, ...more], {
      // Out of reach of Ctrl-C: it ends when the measurement has let go of it.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, [RUNS_FILE]: runsFile },
    });
    const node: NodeProcess = { child, said: '' };
    this.nodes.set(name, node);
    let isThere = false;
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        node.said = (node.said + text).slice(-SHOWN_CHARACTERS);
        isThere ||= node.said.includes('"joined"');
      });
    }
    await until(`the start of ${name}`, () => isThere || hasEnded(child), NODE_MS, this.signal);
    if (hasEnded(child)) throw new RdmaError('RDMA_ERR_PROTOCOL', `${name} has ended; it said: ${node.said.trim()}`);
  }

  nodeSignal(name: string, signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.nodes.get(name)!.child.kill(signal);
  }

  async killNode(name: string): Promise<void> {
    await killed(this.nodes.get(name)!.child);
  }

  /** The places that the plan gives a node. */
  placesOn(node: string): string[] {
    const all = Object.entries(this.pipeline.status().places);
    return all.filter(([, place]) => place.node === node).map(([name]) => name);
  }

  /** Whether all is in order: each place works, and there is no older plan. */
  get isQuiet(): boolean {
    const { places, olderPlans, unplaced } = this.pipeline.status();
    const isGood = Object.values(places).every(({ state }) => state === 'ready');
    return isGood && olderPlans.length === 0 && unplaced.length === 0;
  }

  /** Nodes of this cluster, by name. */
  get nodeNames(): string[] {
    return [...this.nodes.keys()];
  }

  /** As whoever sends requests sees it. */
  get subject(): ClusterSubject {
    return {
      peer: null,
      call: async (n, ms) => {
        const { outputs } = await this.pipeline.run({ meta: { n, ms } });
        checkAnswer(n, outputs.length === 1 ? outputs[0]!.meta.n : undefined);
      },
    };
  }

  /** Who leads; undefined: nobody. */
  async leader(): Promise<{ name: string; term: number } | undefined> {
    const record = readLeaseRecord(await this.control.get(LEADER));
    if (record === undefined || record.free) return undefined;
    return { name: String(Object(record.data).name), term: record.term };
  }

  async close(): Promise<void> {
    await this.pipeline?.close().catch(() => {});
    await this.control?.close().catch(() => {});
    await Promise.all([...this.nodes.keys()].map((name) => this.killNode(name)));
    await this.killNats();
  }
}
