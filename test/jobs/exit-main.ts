// A process that ends while its store on disk commits. Not a test: commits.test.ts starts it.
import { JobService, lmdbStore } from '../../src/ts/jobs/index.js';
import { HeldRunner, numbered } from './support.js';

async function main(): Promise<void> {
  const [folder, how] = process.argv.slice(2) as [string, string];
  const service = await JobService.open({ store: await lmdbStore(folder), runner: new HeldRunner() });
  await service.submit(numbered(1), { id: 'stored' });
  void service.submit(numbered(2), { id: 'under-way' });
  // The commit of the second one has begun by then, and waits for this thread.
  setImmediate(() => {
    process.on('exit', () => console.log('the last words'));
    if (how === 'throw') throw new Error('nobody catches this');
    process.exit(7);
  });
}

void main();
