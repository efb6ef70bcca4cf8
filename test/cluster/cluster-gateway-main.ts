// A gateway of a cluster in a process of its own, with a store of jobs in Redis. Not a test: cluster-gateway.ts starts
// it.
//
// It prints `ready`, `a N` when submit() of job N has answered, `r N CODE` when it was refused, and `o N` with the
// outcome in JSON when it knows it. Its standard input takes `s N` (submit job N), `f N` (print its outcome) and `d N`
// (describe the cluster; the answer is `d N` and text).
//
// Invariant: each line is printed at once and whole, so a process that is killed leaves no half of one.
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { ClusterPipeline } from '../../src/ts/cluster/index.js';
import { natsControlStore } from '../../src/ts/control/index.js';
import { type Job, redisStore } from '../../src/ts/jobs/index.js';
import { DEVICE } from '../pipeline/support.js';
import { printLine } from '../program.js';
import { chaosRequest, clusterChaos } from './cluster-chaos-workflow.js';

/** The task of the process, as JSON in its first argument. */
export interface ClusterGatewayTask {
  readonly nats: string;
  readonly redis: string;
  readonly secret: string;
  readonly leaseMs: number;
}

/** The outcome of a job: what it has answered, or the code and the words of its failure. */
export interface JobOutcome {
  readonly found: unknown;
  readonly error: string | null;
  /** Who has settled it, and when: another outcome has another one. */
  readonly of: string;
}

const AGAIN_MS = 50;
const SHOWN = { depth: 6, breakLength: Number.POSITIVE_INFINITY, compact: true } as const;
const idOf = (n: number) => `chaos-${n}`;
/** Whether it is this gateway, or the store, that cannot tell now. */
const cannotTell = (code: unknown) => code === 'RDMA_ERR_PEER_GONE' || code === 'RDMA_ERR_TIMEOUT';

async function main(): Promise<void> {
  const { nats, redis, secret, leaseMs } = JSON.parse(process.argv[2]!) as ClusterGatewayTask;
  const control = await natsControlStore({ servers: nats });
  const store = await redisStore(redis);
  const options = { app: clusterChaos.name, secret, device: DEVICE, leaseMs, jobLeaseMs: 2000, store };
  const pipeline = await ClusterPipeline.connect(control, { ...options, startTimeoutMs: 110_000 });

  async function tell(n: number, job: Job): Promise<void> {
    for (;;) {
      try {
        let found: unknown = null;
        let error: string | null = null;
        try {
          found = (await job.result()).outputs.map(({ meta }) => meta);
        } catch (failure) {
          const { code } = failure as { code?: string };
          if (cannotTell(code)) throw failure;
          error = `${code} ${String(failure)}`;
        }
        const entry = await store.get(job.id);
        const of = `${entry?.settledBy} ${entry?.endedAtMs}`;
        printLine('o', n, JSON.stringify({ found, error, of } satisfies JobOutcome));
        return;
      } catch {
        await sleep(AGAIN_MS);
      }
    }
  }

  async function submit(n: number): Promise<void> {
    try {
      const job = await pipeline.submit(chaosRequest(n).request, { id: idOf(n) });
      printLine('a', n);
      await tell(n, job);
    } catch (error) {
      printLine('r', n, String((error as { code?: string }).code));
    }
  }

  async function follow(n: number): Promise<void> {
    for (;;) {
      try {
        return await tell(n, await pipeline.job(idOf(n)));
      } catch (error) {
        const { code } = error as { code?: string };
        if (!cannotTell(code)) {
          printLine('o', n, JSON.stringify({ found: null, error: `${code} ${String(error)}`, of: '' }));
          return;
        }
        await sleep(AGAIN_MS);
      }
    }
  }

  // For people: what this gateway sees, and what the store has of a job.
  async function describe(n: number): Promise<void> {
    const entry = await store.get(idOf(n)).catch(String);
    const { number, plan, olderPlans, places, gateway, control: failure } = pipeline.status();
    const bad = Object.entries(places).filter(([, { state }]) => state !== 'ready');
    printLine('d', n, inspect({ entry, number, plan, olderPlans, bad, failure, load: pipeline.load, gateway }, SHOWN));
  }

  const commands: Readonly<Record<string, (n: number) => Promise<void>>> = { s: submit, f: follow, d: describe };
  createInterface({ input: process.stdin })
    .on('line', (line) => {
      const [what, n] = line.split(' ');
      void commands[what!]!(Number(n));
    })
    .on('close', () => process.exit(0)); // whoever started it has ended
  printLine('ready');
}

if (require.main === module) void main();
