// A process that comes to some step of its life and ends there, by itself or by process.exit; also as a worker thread.
import { isMainThread, Worker } from 'node:worker_threads';
import { content, openInbox, openOutbox } from './support.js';

export const STEPS = [
  'exit with an inbox',
  'exit while connecting',
  'exit when connected',
  'exit after sending',
  'exit in onMessage',
  'exit while closing',
  'end after closing',
  'end after closing in onMessage',
  'end with a closed inbox and an open outbox',
  'end after a worker has worked',
  'end after a worker was terminated in the middle',
] as const;

async function main(step: string): Promise<void> {
  if (step.includes('worker')) return withWorker(step);
  const inbox = await openInbox({
    onMessage: (message) => {
      if (step === 'exit in onMessage' && message.sequence === 50) process.exit(0);
      if (step === 'end after closing in onMessage' && message.sequence === 50) {
        void inbox.close();
        void outbox.close();
      }
      message.done();
    },
  });
  if (step === 'exit with an inbox') process.exit(0);
  const connecting = openOutbox(inbox, step.includes('open outbox') ? { reconnectMs: 50 } : {});
  if (step === 'exit while connecting') setImmediate(() => process.exit(0));
  const outbox = await connecting;
  if (step === 'exit when connected') process.exit(0);
  for (let i = 1; i <= 100; i++) await outbox.send(content(i, 100)).catch(() => 0);
  if (step === 'exit after sending') process.exit(0);
  if (step === 'for ever') for (let i = 101; ; i++) await outbox.send(content(i, 100));
  if (!step.includes('in onMessage')) await outbox.whenAcknowledged();
  const closing = inbox.close();
  if (step === 'exit while closing') process.exit(0);
  if (!step.includes('open outbox')) await outbox.close();
  await closing;
}

async function withWorker(step: string): Promise<void> {
  const terminated = step.includes('terminated');
  const worker = new Worker(__filename, { workerData: terminated ? 'for ever' : 'end after closing' });
  const ended = new Promise((resolve) => worker.once('exit', resolve));
  if (terminated) {
    await new Promise((resolve) => worker.once('online', resolve));
    // Its own work goes on beside that of the worker.
    await main('end after closing');
    await worker.terminate();
  }
  await ended;
  await main('end after closing');
}

if (!isMainThread) void import('node:worker_threads').then(({ workerData }) => main(workerData as string));
else if (require.main === module) void main(JSON.parse(process.argv[2] as string).step);
