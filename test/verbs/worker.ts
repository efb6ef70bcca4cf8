// A worker thread for the tests of workers: climbs to a step, says so, and then works without end or waits.
import { parentPort, workerData } from 'node:worker_threads';
import { native } from '../../src/ts/addon/native.js';
import { climb } from './climb.js';

const { step, mode } = workerData as { step: string; mode: 'busy' | 'wait' | 'end' };
native();
const { work } = climb(step);
parentPort?.postMessage('there');
if (mode === 'busy') for (;;) work();
// Listening keeps the worker alive; an armed channel alone would not.
if (mode === 'wait') parentPort?.on('message', () => undefined);
