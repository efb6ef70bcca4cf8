// Workflows whose processes start badly, as a file says; workers import this module.
//
// Invariant: only the process of a stage does what the file says, and only where the file names its place.
import { readFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { stageProcess } from '../../src/ts/cluster/index.js';
import { workflow } from '../../src/ts/pipeline/index.js';

/** Environment variable with the path of the file: JSON of a {@link Fault} by place. */
export const FAULTS = 'ONEPIECE_TEST_FAULTS';

/** What happens while the module of a place is imported. */
export interface Fault {
  /** Blocks for so long, in ms. */
  blockMs?: number;
  throws?: string;
}

function faultOf(place: string | undefined): Fault {
  const file = process.env[FAULTS];
  if (place === undefined || file === undefined) return {};
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as Record<string, Fault>)[place] ?? {};
  } catch {
    return {}; // there is none now
  }
}

const fault = faultOf(stageProcess());
if (fault.blockMs !== undefined) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, fault.blockMs);
if (fault.throws !== undefined) throw new Error(fault.throws);

/** Three stages one after the other that do nothing. */
export const chain = workflow('chain', { module: __filename })
  .stage('a', { handler: () => ({}) })
  .stage('b', { after: ['a'], handler: () => ({}) })
  .stage('c', { after: ['b'], handler: () => ({}) });

/** What a handler does besides its work is in the request. */
export const careless = workflow('careless', { module: __filename }).stage('act', {
  handler: (task) => {
    const { act } = task.input('request').meta;
    switch (act) {
      case 'send':
        // As programs do that know of another parent.
        for (const message of [null, 'ready', 7, { type: 'ready' }, { type: 'failed', error: 1 }, []]) {
          process.send?.(message);
        }
        return {};
      case 'spawn': {
        const { pid } = spawn('sleep', ['1000'], { stdio: 'ignore' });
        return { meta: { pid: pid ?? 0 } };
      }
      case 'environment':
        return { meta: { text: readFileSync(`/proc/${process.pid}/environ`, 'latin1') } };
      default:
        return {};
    }
  },
});
