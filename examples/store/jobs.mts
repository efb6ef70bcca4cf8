// Jobs in a store of your own: a job that one process has accepted is done by the next one.
//
//   node examples/store/jobs.mts FOLDER submit 12              stores a job and ends at once, as if it had crashed
//   node examples/store/jobs.mts FOLDER work                   does what is stored, and prints the results
//
// Node.js 22.18 or later runs it as it is; with an earlier one compile it with tsc.
import { LocalPipeline } from 'onepiece-rdma/cluster';
import { JobStore } from 'onepiece-rdma/jobs';
import { FolderBackend } from './folder-backend.mts';
import { square } from './square.mts';

const [folder, command, value] = process.argv.slice(2);
if (folder === undefined || !['submit', 'work'].includes(command ?? '')) {
  console.error('usage: jobs.mts FOLDER submit NUMBER | jobs.mts FOLDER work');
  process.exit(2);
}

// Your records below, the library's rules on top: results are kept for an hour, new jobs are refused beyond 1 GiB.
const store = new JobStore(await FolderBackend.open(folder), { ttlMs: 3_600_000 }, 2 ** 30);
const pipeline = await LocalPipeline.start(square, { store });
try {
  if (command === 'submit') {
    const job = await pipeline.submit({ meta: { value: Number(value) } }, { id: `square-${value}` });
    console.log(`stored ${job.id}`);
    process.exit(0); // without close(): the job is on disk, and nothing of it is lost
  }
  for (const { id } of await pipeline.jobs()) {
    const job = await pipeline.job(id);
    const { outputs } = await job.result();
    console.log(`${id}: ${outputs[0]?.meta.square}`);
  }
} finally {
  await pipeline.close();
  await store.close(); // whoever opens a store closes it
}
