// A task of 64 bytes from Node.js to Python and back: the bridge of a stage alone, without lanes.
//
// Invariant: every round trip is a whole task: its input is handed over, read and written into an output, and the
// output is compared here. The first ones, in which both programs warm up, do not count.
import { join } from 'node:path';
import { RdmaError } from '../../core/errors.js';
import { PythonStage } from '../../cluster/python/python-stage.js';
import { checkSpec, type Tensor, tensor } from '../../pipeline/index.js';
import type { Task } from '../../pipeline/task.js';
import { Poller } from '../../ring/index.js';
import { packageRoot } from '../../addon/native.js';
import type { PythonBenchSettings } from './settings.js';

const BYTES = 64;
const WARM_UP = 500;
const POLL_US = 100;

/** The file of the stages. */
export const stagesFile = (): string => join(packageRoot(), 'src', 'python', 'bench', 'stages.py');

/** @returns microseconds of each: one after another, and after a rest */
export async function measureRoundTrips(
  { interpreter, roundTrips, rests, restMs }: PythonBenchSettings,
  signal: AbortSignal,
): Promise<{ busy: number[]; rested: number[] }> {
  const python = { file: stagesFile(), name: 'echo', interpreter };
  const spec = checkSpec({ name: 'echo', stages: [{ name: 'echo', python }] });
  let failure: RdmaError | undefined;
  const stage = new PythonStage({
    stage: spec.stages[0]!,
    instance: 0,
    module: __filename,
    heartbeatMs: 2000,
    pollUs: POLL_US,
    poller: new Poller({ pollUs: POLL_US }),
    onFailed: (reason) => {
      failure = reason;
    },
  });
  stage.inlineBytes = 4096;
  try {
    await stage.start();
    const once = async (): Promise<number> => {
      signal.throwIfAborted();
      if (failure !== undefined) throw failure;
      const x = tensor(
        'u8',
        [BYTES],
        Uint8Array.from({ length: BYTES }, () => Math.random() * 256),
      );
      const task = taskOf(x);
      const from = performance.now();
      const { parts } = await stage.code.handler!(task);
      const us = (performance.now() - from) * 1000;
      const came = parts?.x?.data as Uint8Array;
      if (Buffer.compare(came, x.data as Uint8Array) !== 0) throw new RdmaError('RDMA_ERR_INTERNAL', 'wrong bytes');
      return us;
    };
    for (let i = 0; i < WARM_UP; i++) await once();
    const busy: number[] = [];
    for (let i = 0; i < roundTrips; i++) busy.push(await once());
    const rested: number[] = [];
    for (let i = 0; i < rests; i++) {
      await new Promise((resolve) => setTimeout(resolve, restMs));
      rested.push(await once());
    }
    return { busy, rested };
  } finally {
    await stage.close();
  }
}

// What a stage asks of a task, without the rest of a pipeline.
function taskOf(x: Tensor): Task {
  const task: Partial<Task> & Record<string, unknown> = {
    request: 'bench',
    seed: 0,
    instance: 0,
    instances: 1,
    spread: 'route',
    inputs: () => [{ stage: 'request', instance: 0, meta: {}, parts: { x }, pieces: [] }],
  };
  return task as unknown as Task;
}
