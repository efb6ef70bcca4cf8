// `onepiece jobs`: what a store of jobs holds, from outside of the process that works on it.
//
// Invariant: it never works on a job: it looks, cancels, and removes what has ended. A job that is named and not there
// is a failure.
import { Command } from 'commander';
import { RdmaError } from '../core/errors.js';
import { defaultStoreFolder, type JobRecord, type JobStore, lmdbStore, redisStore } from '../jobs/index.js';
import { recordOf } from '../jobs/entry.js';
import { checkJobId, notFound } from '../jobs/job-id.js';
import type { JobState } from '../jobs/job.js';
import { UsageError } from './exit.js';
import { integer, listOf } from './options.js';
import { bytes, table } from './table.js';

const SCHEMA_VERSION = 1;
const STATES: readonly JobState[] = ['queued', 'running', 'done', 'failed', 'cancelled'];

interface WhereOptions {
  store?: string;
  redis?: string;
  prefix?: string;
  json?: true;
}

interface ListOptions extends WhereOptions {
  state?: JobState[];
  tenant?: string;
  limit: number;
}

export function jobsCommand(setExitCode: (code: number) => void): Command {
  return new Command('jobs')
    .description('look at the jobs of a store, cancel them, and remove those that have ended')
    .addCommand(
      place(new Command('list').description('list jobs, the newest first'))
        .option('--state <states>', `only these: some of ${STATES.join(', ')}`, listOf(STATES))
        .option('--tenant <name>', 'only of this tenant')
        .option('--limit <count>', 'at most so many', integer(1, 100_000), 100)
        .action((options: ListOptions) => list(options)),
    )
    .addCommand(
      place(new Command('show').description('show one job'))
        .argument('<id>')
        .action((id: string, options: WhereOptions) => show(id, options)),
    )
    .addCommand(
      place(new Command('cancel').description('cancel jobs, also those that are being worked on'))
        .argument('<ids...>')
        .action((ids: string[], options: WhereOptions) => each(ids, options, 'cancelled', cancel, setExitCode)),
    )
    .addCommand(
      place(new Command('rm').description('remove jobs that have ended, with their results'))
        .argument('<ids...>')
        .action((ids: string[], options: WhereOptions) => each(ids, options, 'removed', remove, setExitCode)),
    );
}

function place(command: Command): Command {
  return command
    .option('--store <folder>', 'the store on disk in this folder; default: below XDG_STATE_HOME')
    .option('--redis <url>', 'the store in Redis, such as redis://host:6379')
    .option('--prefix <name>', 'with --redis: what its keys begin with')
    .option('--json', 'print one JSON document');
}

async function withStore<T>(options: WhereOptions, work: (store: JobStore) => Promise<T>): Promise<T> {
  const { store: folder, redis, prefix } = options;
  if (folder !== undefined && redis !== undefined) throw new UsageError('give --store or --redis, not both');
  if (prefix !== undefined && redis === undefined) throw new UsageError('--prefix goes with --redis');
  const open = async () => {
    if (redis === undefined) return lmdbStore(folder ?? defaultStoreFolder(), { create: false });
    return redisStore(redis, prefix === undefined ? {} : { prefix });
  };
  const store = await open().catch((error: RdmaError) => {
    throw error.code === 'RDMA_ERR_INVALID_ARGUMENT' ? new UsageError(error.message) : error;
  });
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

function checkIds(ids: readonly string[]): void {
  for (const id of ids) {
    try {
      checkJobId(id);
    } catch {
      throw new UsageError(`a job has an id of 1 to 128 of A-Z a-z 0-9 . _ : -, not ${JSON.stringify(id)}`);
    }
  }
}

function print(document: object): void {
  process.stdout.write(`${JSON.stringify({ schemaVersion: SCHEMA_VERSION, ...document }, null, 2)}\n`);
}

async function list(options: ListOptions): Promise<void> {
  const { state, tenant, limit, json } = options;
  await withStore(options, async (store) => {
    const usage = await store.usage();
    const filter = {
      ...(tenant === undefined ? {} : { tenant }),
      ...(state?.length === 1 ? { state: state[0]! } : {}),
    };
    // Of several states, the limit is of those that are shown.
    const all = await store.list({ ...filter, limit: (state?.length ?? 0) > 1 ? 100_000 : limit });
    const jobs = all.filter((entry) => state === undefined || state.includes(entry.state)).slice(0, limit);
    const records = jobs.map(recordOf);
    if (json) print({ store: store.name, usage, jobs: records });
    else
      process.stdout.write(
        `${listTable(records)}\n\n${usage.jobs} jobs, ${bytes(usage.bytes)} of ${bytes(usage.maxBytes)}\n`,
      );
  });
}

const time = (ms: number | undefined): string => (ms === undefined ? '-' : new Date(ms).toISOString());

function listTable(jobs: readonly JobRecord[]): string {
  const header = ['job', 'state', 'tenant', '>priority', '>attempts', 'submitted', '>request', '>result'];
  const rows = jobs.map((job) => [
    job.id,
    job.state,
    job.tenant,
    `${job.priority}`,
    `${job.attempts}`,
    time(job.submittedAtMs),
    bytes(job.requestBytes),
    job.resultBytes === undefined ? '-' : bytes(job.resultBytes),
  ]);
  return table(header, rows);
}

async function show(id: string, options: WhereOptions): Promise<void> {
  checkIds([id]);
  const entry = await withStore(options, (store) => store.get(id));
  if (entry === undefined) throw notFound(id);
  const job = recordOf(entry);
  if (options.json) {
    print({ job });
    return;
  }
  const rows = [
    ['job', job.id],
    ['state', job.state],
    ['tenant', job.tenant],
    ['priority', `${job.priority}`],
    ['submitted', time(job.submittedAtMs)],
    ['ended', time(job.endedAtMs)],
    ['attempts', `${job.attempts}`],
    ['request', bytes(job.requestBytes)],
    ['result', job.resultBytes === undefined ? '-' : bytes(job.resultBytes)],
    ...(job.error === undefined ? [] : [['error', job.error.message.replace(/\s+/g, ' ')]]),
  ];
  process.stdout.write(`${rows.map(([name, value]) => `${name!.padEnd(10)} ${value}`).join('\n')}\n`);
}

async function cancel(store: JobStore, id: string): Promise<void> {
  const error = new RdmaError('RDMA_ERR_CANCELLED', `job ${id} was cancelled by onepiece jobs`).toJSON();
  const by = `cancel/${store.port.uniqueName()}`;
  if (await store.settle(id, { state: 'cancelled', error }, by)) return;
  const entry = await store.get(id);
  if (entry === undefined) throw notFound(id);
  throw new RdmaError('RDMA_ERR_BUSY', `job ${id} is ${entry.state} already`);
}

async function remove(store: JobStore, id: string): Promise<void> {
  if (!(await store.forget(id))) throw notFound(id);
}

// All of them, also behind one that fails.
async function each(
  ids: readonly string[],
  options: WhereOptions,
  word: string,
  work: (store: JobStore, id: string) => Promise<void>,
  setExitCode: (code: number) => void,
): Promise<void> {
  checkIds(ids);
  const answers: { id: string; ok: boolean; error?: object }[] = [];
  await withStore(options, async (store) => {
    for (const id of ids) {
      try {
        await work(store, id);
        answers.push({ id, ok: true });
        if (!options.json) process.stdout.write(`${id} ${word}\n`);
      } catch (error) {
        const { code, message } = error as RdmaError;
        if (code === 'RDMA_ERR_PEER_GONE') throw error;
        answers.push({ id, ok: false, error: { code, message } });
        if (!options.json) process.stderr.write(`onepiece: ${message}\n`);
      }
    }
  });
  if (options.json) print({ jobs: answers });
  if (answers.some(({ ok }) => !ok)) setExitCode(1);
}
