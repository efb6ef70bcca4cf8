// Three stages in a row on BullMQ, as its flows do it: a job of the last stage waits for that before it, and so on.
// Redis keeps what it has in memory, and on disk each second, as it does by default in a queue that is to last.
//
// Invariant: a worker process that ends is started again at once; all are gone, and the server with them, when close()
// has ended.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type * as BullMq from 'bullmq';
import { checkAnswer } from '../../../src/ts/bench/cluster/load.js';
import { INSTANCES, RUNS_FILE, STAGES } from '../../../src/ts/bench/cluster/settings.js';
import { Partner } from '../../../src/ts/bench/kit/partner.js';
import type { ClusterPeer, OpenClusterPeer } from '../../../src/ts/bench/cluster/peer.js';
import { bullmq } from '../overload/bullmq.js';
import type { BullMqFlowRequest } from './bullmq-flow-main.js';
import { findProgram } from '../../../src/ts/bench/kit/find-program.js';
import { loadPackage } from '../installed.js';
import { ServerProcess } from '../../../src/ts/bench/kit/server-process.js';

const LOOK_MS = 20;
const LONG_MS = 600_000;
const KEPT = { count: 1000 };
const KEEPING = { removeOnComplete: KEPT, removeOnFail: KEPT };
export const queueOf = (stage: string): string => `bench-${stage}`;

export class BullMqFlow implements OpenClusterPeer {
  readonly peer = 'bullmq';
  private readonly workers: { stage: string; partner: Partner }[] = [];
  private readonly flows: BullMq.FlowProducer;
  private readonly events: BullMq.QueueEvents;
  private watch: NodeJS.Timeout | undefined;
  private starting: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly server: ServerProcess,
    private readonly path: string,
    readonly runsFile: string,
  ) {
    const { FlowProducer, QueueEvents } = loadPackage<typeof BullMq>('bullmq');
    const connection = { path, maxRetriesPerRequest: null };
    this.flows = new FlowProducer({ connection });
    this.events = new QueueEvents(queueOf(STAGES.at(-1)!), { connection });
    this.flows.setMaxListeners(0);
    this.events.setMaxListeners(0); // one for each job that is waited for
    this.flows.on('error', () => {}); // whoever waits gets it
    this.events.on('error', () => {});
  }

  /** Starts Redis and the workers. @param folder where they keep what they have */
  static async open(folder: string): Promise<BullMqFlow> {
    const path = join(folder, 'redis');
    const args = ['--port', '0', '--unixsocket', path, '--unixsocketperm', '700', '--dir', folder];
    const program = findProgram('redis-server', 'apt-get install redis-server');
    const server = await ServerProcess.start(program, [...args, '--appendonly', 'yes'], { path });
    const runsFile = join(folder, 'bullmq-runs');
    writeFileSync(runsFile, '');
    const flow = new BullMqFlow(server, path, runsFile);
    try {
      const stages = STAGES.flatMap((stage) => Array.from({ length: INSTANCES }, () => stage));
      await Promise.all(stages.map((stage) => flow.start(stage)));
      await flow.events.waitUntilReady();
      flow.watch = setInterval(() => flow.replace(), LOOK_MS);
      return flow;
    } catch (error) {
      await flow.close();
      throw error;
    }
  }

  private async start(stage: string): Promise<void> {
    const partner = new Partner(join(__dirname, 'bullmq-flow-main.js'), { [RUNS_FILE]: this.runsFile });
    this.workers.push({ stage, partner });
    const asked: BullMqFlowRequest = { path: this.path, stage };
    await partner.ask(asked);
  }

  // What a supervisor does.
  private replace(): void {
    for (const worker of this.workers.filter(({ partner }) => partner.failed !== undefined)) {
      this.workers.splice(this.workers.indexOf(worker), 1);
      this.starting = this.starting.then(() => this.start(worker.stage)).catch(() => {});
    }
  }

  readonly call = async (n: number, ms: number): Promise<void> => {
    const jobOf = (index: number): BullMq.FlowJob => ({
      name: 'run',
      queueName: queueOf(STAGES[index]!),
      data: { n, ms },
      opts: { ...KEEPING, failParentOnFailure: true },
      children: index === 0 ? [] : [jobOf(index - 1)],
    });
    const { job } = await this.flows.add(jobOf(STAGES.length - 1));
    const answer = (await job.waitUntilFinished(this.events, LONG_MS)) as { n: number };
    checkAnswer(n, answer.n);
  };

  async close(): Promise<void> {
    clearInterval(this.watch);
    await this.starting;
    await Promise.all(this.workers.map(({ partner }) => partner.end()));
    // disconnect() would leave its loop at work for ever.
    await Promise.all([this.flows.close(), this.events.close()]);
    await this.server.close();
  }
}

export const bullmqFlow: ClusterPeer = {
  title: 'BullMQ',
  check: () => bullmq.check(),
  open: (folder) => BullMqFlow.open(folder),
};
