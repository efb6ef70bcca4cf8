// A worker thread for the tests of workers: climbs to a step, says so, and then waits, ends, or works without end. It
// posts requests (`busy`), makes everything and closes it (`cycle`), or makes calls that fail (`refused`).
import { parentPort, workerData } from 'node:worker_threads';
import { native } from '../../src/ts/addon/native.js';
import { Device } from '../../src/ts/verbs/index.js';
import { climb } from './climb.js';

export type WorkerMode = 'busy' | 'cycle' | 'refused' | 'wait' | 'end';

const { step, mode } = workerData as { step: string; mode: WorkerMode };
native();
const { device, work } = climb(step);
const refuse = () => {
  const pd = device!.allocateProtectionDomain();
  const refused = [
    () => Device.open('nope'),
    () => device!.createCompletionQueue(2 ** 30),
    () => device!.portAddress(200),
    () => pd.registerMemory({ bytes: 2 ** 46 }),
    () => pd.createQueuePair({ sendCq: { handle: 0 } as never }),
  ];
  for (const call of refused) {
    try {
      call();
    } catch (error) {
      if ((error as { code?: string }).code !== undefined) continue;
      throw error;
    }
    throw new Error(`${call} did not fail`);
  }
  pd.close();
};
if (mode === 'refused') refuse();
parentPort?.postMessage('there');
if (mode === 'busy') for (;;) work();
if (mode === 'cycle') for (;;) climb(step).device!.close();
if (mode === 'refused') for (;;) refuse();
// Listening keeps the worker alive; an armed channel alone would not.
if (mode === 'wait') parentPort?.on('message', () => undefined);
