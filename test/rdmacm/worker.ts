// A worker that goes as far as its `step` and is terminated there.
import { parentPort, workerData } from 'node:worker_threads';
import { connect, listen } from '../../src/ts/rdmacm/index.js';
import { connectedPair, deviceAddress, nextRequest, openEnd } from './support.js';

const { step } = workerData as { step: string };
const kept: unknown[] = [];

async function main(): Promise<void> {
  if (step === 'connected') kept.push(await connectedPair());
  else {
    const listener = await listen({ host: deviceAddress() });
    kept.push(listener);
    if (step !== 'listening') {
      const { port, address: host } = listener.address;
      const end = openEnd();
      kept.push(end, connect({ host, port, createQueuePair: () => end.queuePair }));
      kept.push(await nextRequest(listener)); // never answered
    }
  }
  parentPort?.postMessage('there');
  if (step === 'busy') for (;;) kept.push(await listen({ host: deviceAddress() }).then((other) => other.close()));
  parentPort?.on('message', () => undefined);
}

void main();
