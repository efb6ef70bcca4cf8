// What `onepiece bench python` measures, and how often.
import { checkInteger, checkString } from '../../core/validate.js';

/** Environment variable with the program that runs Python: set before the workflow is imported. */
export const INTERPRETER = 'ONEPIECE_BENCH_PYTHON';
/** Environment variable with the number of GPUs: set before the workflows of GPUs are imported. */
export const GPUS = 'ONEPIECE_BENCH_GPUS';

export interface PythonBenchSettings {
  /** The program that runs Python; it has NumPy. */
  readonly interpreter: string;
  /** Round trips of 64 bytes: one after another, and each after a rest. */
  readonly roundTrips: number;
  readonly rests: number;
  readonly restMs: number;
  /** What is handed from one stage to the next, and how often. */
  readonly handOverBytes: number;
  readonly handOvers: number;
}

/** Fills in defaults. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkPythonBench(input: Partial<PythonBenchSettings>): PythonBenchSettings {
  const handOverBytes = checkInteger('handOverBytes', input.handOverBytes ?? 64 * 2 ** 20, 8, 2 ** 29);
  return {
    interpreter: checkString('interpreter', input.interpreter ?? 'python3', { minLength: 1, maxLength: 4096 }),
    roundTrips: checkInteger('roundTrips', input.roundTrips ?? 5000, 1, 1_000_000),
    rests: checkInteger('rests', input.rests ?? 200, 1, 100_000),
    restMs: checkInteger('restMs', input.restMs ?? 20, 1, 10_000),
    handOverBytes: handOverBytes - (handOverBytes % 8),
    handOvers: checkInteger('handOvers', input.handOvers ?? 20, 1, 10_000),
  };
}
