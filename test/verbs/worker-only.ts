// Only workers load the addon here, one after another, so each end may unload it.
import { once } from 'node:events';
import path from 'node:path';
import { Worker } from 'node:worker_threads';

async function main(): Promise<void> {
  if (process.connected) process.disconnect();
  for (let round = 0; round < 10; round++) {
    const mode = ['busy', 'wait', 'end'][round % 3];
    const worker = new Worker(path.join(__dirname, 'worker.js'), { workerData: { step: 'armed', mode } });
    await once(worker, 'message');
    if (mode === 'end') await once(worker, 'exit');
    else await worker.terminate();
  }
}

void main();
