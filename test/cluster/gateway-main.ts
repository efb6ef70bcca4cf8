// A process with a pipeline that submits jobs to it, until it is ended. Not a test: gateway-chaos.ts starts it.
//
// It prints `ready`, the processes of its stages whenever they change (`p PID ...`), a line when submit() has answered
// (`a N`), and one when it knows an outcome (`o N` and the outcome in JSON).
//
// Invariant: each line is printed at once and whole, so a process that is killed leaves no half of one.
import { setTimeout as sleep } from 'node:timers/promises';
import { LocalPipeline } from '../../src/ts/cluster/index.js';
import { type Job, type JobStore, lmdbStore, redisStore } from '../../src/ts/jobs/index.js';
import { DEVICE } from '../pipeline/support.js';
import { whatIsWrong } from './chaos.js';
import type { RequestPlan } from './chaos-plan.js';
import { chaotic } from './chaos-workflow.js';
import { endOfError, JOBS_PER_PROCESS, planJob } from './gateway-plan.js';
import { printLine } from '../program.js';

/** The task of the process, as JSON in its first argument. */
export interface GatewayTask {
  kind: 'lmdb' | 'redis';
  place: string;
  seed: number;
  /** Which process of the run it is: its jobs have the numbers from here times JOBS_PER_PROCESS on. */
  generation: number;
  clients: number;
}

/** The outcome of a job, as one sees it. */
export interface SeenOutcome {
  end: string;
  /** Who has settled it, and which request of its pipeline it was: another run has another one. */
  of: string;
}

/** When a process of a stage may have ended. */
const LOOK_MS = 50;
const REFUSED_MS = 10;

export function openStore({ kind, place }: Pick<GatewayTask, 'kind' | 'place'>): Promise<JobStore> {
  return kind === 'lmdb' ? lmdbStore(place) : redisStore(place);
}

/** Waits for the outcome of a job. @throws when it is unknown, as the store is away or the service is closed */
export async function outcomeOf(store: JobStore, job: Job, seed: number, plan: RequestPlan): Promise<SeenOutcome> {
  let end: string;
  let request = '';
  try {
    const result = await job.result();
    end = whatIsWrong(seed, plan, result) ?? 'ok';
    ({ request } = result);
  } catch (error) {
    end = endOfError(plan, error);
    if (end === 'RDMA_ERR_CLOSED' || end === 'RDMA_ERR_PEER_GONE') throw error;
  }
  const entry = await store.get(job.id);
  return { end, of: `${entry?.settledBy} ${entry?.endedAtMs} ${request}` };
}

async function main(): Promise<void> {
  const task = JSON.parse(process.argv[2]!) as GatewayTask;
  const { seed, generation, clients } = task;
  const store = await openStore(task);
  const pipeline = await LocalPipeline.start(chaotic, { device: DEVICE, maxRestarts: 1000, store });
  let isOver = false;
  process.once('SIGTERM', () => {
    isOver = true;
    void (async () => {
      await pipeline.close();
      await store.close();
      process.exit(0);
    })();
  });
  tellProcesses(pipeline);
  printLine('ready');
  let next = generation * JOBS_PER_PROCESS;

  async function client(): Promise<void> {
    while (!isOver) {
      const n = next++;
      const { plan, request, options, cancelMs } = planJob(seed, n);
      try {
        const job = await pipeline.submit(request, options);
        printLine('a', n);
        const timer =
          cancelMs === undefined ? undefined : setTimeout(() => void job.cancel().catch(() => {}), cancelMs);
        try {
          printLine('o', n, JSON.stringify(await outcomeOf(store, job, seed, plan)));
        } finally {
          clearTimeout(timer);
        }
      } catch {
        // It was not accepted; or nobody heard that it was, or how it ended.
        await sleep(REFUSED_MS);
      }
    }
  }

  await Promise.all(Array.from({ length: clients }, client));
}

function tellProcesses(pipeline: LocalPipeline): void {
  let told = '';
  const look = () => {
    const pids = pipeline.processes.map(({ pid }) => pid).join(' ');
    if (pids !== told) printLine('p', pids);
    told = pids;
  };
  look();
  setInterval(look, LOOK_MS).unref();
}

if (require.main === module) void main();
