// A process that submits jobs and does them, until it is killed. Not a test: chaos.ts starts it.
//
// It prints a line when submit() has answered (`a ID VALUE`) and one when it knows an outcome (`o ID NONCE`). The
// nonce is new in each run of a job, so two outcomes of one job cannot look the same.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { JobService, lmdbStore, redisStore } from '../../src/ts/jobs/index.js';
import type { PipelineRequest } from '../../src/ts/pipeline/index.js';
import { numbered, resultOf } from './support.js';
import { printLine } from '../program.js';

/** The task of the process, as JSON in its first argument. */
export interface GatewayTask {
  kind: 'lmdb' | 'redis';
  place: string;
  /** What its ids begin with. */
  name: string;
  leaseMs: number;
}

/** Does what every gateway of the chaos does with a request. */
export async function runOne(request: PipelineRequest) {
  await sleep(Math.random() * 20);
  const result = resultOf(request);
  result.outputs[0]!.meta.nonce = randomUUID();
  return result;
}

export function openStore({ kind, place }: Pick<GatewayTask, 'kind' | 'place'>) {
  return kind === 'lmdb' ? lmdbStore(place) : redisStore(place);
}

async function main(): Promise<void> {
  const task = JSON.parse(process.argv[2]!) as GatewayTask;
  const store = await openStore(task);
  const service = await JobService.open({
    store,
    runner: { run: runOne },
    leaseMs: task.leaseMs,
    maxAttempts: 100,
    maxRunning: 16,
  });
  printLine('ready');
  const tell = async (id: string) => {
    const { outputs } = await service.job(id).result();
    printLine('o', id, String(outputs[0]!.meta.nonce));
  };
  for (let i = 0; ; i++) {
    const id = `${task.name}.${i}`;
    // Every fifth is too large for a record.
    try {
      await service.submit(numbered(i, i % 5 === 0 ? 40_000 : 8), { id });
      printLine('a', id, i);
      void tell(id).catch(() => {});
    } catch {
      // It was not accepted; or it was, and nobody learned that.
    }
    await sleep(Math.random() * 10);
  }
}

if (require.main === module) void main();
