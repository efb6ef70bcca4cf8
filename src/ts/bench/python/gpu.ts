// `onepiece bench python --gpu`: tensors from a lane to a GPU and from the GPU of one process to that of the next,
// each beside the copy that one process makes without a pipeline.
//
// Invariant: both sides of a row are measured on the same GPUs in the same run, with the wait for the GPU; every
// hand-over is checked, byte by byte.
import { RdmaError } from '../../core/errors.js';
import { type GpuInventory, readGpus } from '../../cluster/gpus.js';
import { LocalPipeline } from '../../cluster/index.js';
import { tensor } from '../../pipeline/index.js';
import { type Machine, machine } from '../kit/machine.js';
import { median, round3 } from '../kit/statistics.js';
import { pythonVersion } from './python-version.js';
import { GPUS, INTERPRETER } from './settings.js';

/** What is measured, and how often. */
export interface GpuBenchSettings {
  /** The program that runs Python; it has PyTorch. */
  readonly interpreter: string;
  /** From a lane to the GPU. */
  readonly laneBytes: number;
  /** From GPU to GPU, at most 1 GiB. */
  readonly betweenBytes: number;
  readonly rounds: number;
}

/** One row: what the pipeline takes, and what one process takes. */
export interface GpuRow {
  readonly what: string;
  readonly bytes: number;
  readonly p50Us: number;
  /** What it is compared with. */
  readonly than: string;
  readonly thanP50Us: number;
  /** The speed, relative to what it is compared with: 1 is as fast, 0.5 takes twice as long. */
  readonly relative: number;
}

export interface GpuBench {
  readonly schemaVersion: 1;
  readonly machine: Machine;
  readonly python: string;
  /** Names, as CUDA numbers them. */
  readonly gpus: readonly string[];
  readonly driver: string | null;
  readonly rows: readonly GpuRow[];
  readonly failures: readonly { what: string; reason: string }[];
}

const WARM_UP = 3;
const ATTENTIVE_US = 10_000;
const START_TIMEOUT_MS = 180_000;

/**
 * A row of medians.
 *
 * @param us microseconds of each, at least one
 * @param thanUs microseconds of what it is compared with, at least one
 * @throws RdmaError RDMA_ERR_INTERNAL when there are no samples, or one is not above 0
 */
export function gpuRow(
  { what, bytes, than }: Pick<GpuRow, 'what' | 'bytes' | 'than'>,
  us: readonly number[],
  thanUs: readonly number[],
): GpuRow {
  if (us.length === 0 || thanUs.length === 0 || ![...us, ...thanUs].every((each) => each > 0)) {
    throw new RdmaError('RDMA_ERR_INTERNAL', `${what}: ${us.length} and ${thanUs.length} samples, not all above 0`);
  }
  const [p50Us, thanP50Us] = [round3(median(us)), round3(median(thanUs))];
  return { what, bytes, p50Us, than, thanP50Us, relative: round3(thanP50Us / p50Us) };
}

/** @throws RdmaError RDMA_ERR_NO_DEVICE where CUDA sees no GPU, or cannot be asked */
export function checkGpus({ gpus, driver, problem }: GpuInventory): void {
  if (gpus.length > 0) return;
  const why =
    problem ?? (driver === null ? 'no NVIDIA driver is loaded' : `driver ${driver} is loaded, CUDA sees none`);
  throw new RdmaError('RDMA_ERR_NO_DEVICE', `there is no GPU here: ${why}`, { remedy: 'see onepiece doctor' });
}

/**
 * Measures all rows. Uses two GPUs where there are two.
 *
 * @throws RdmaError RDMA_ERR_NO_DEVICE without a GPU; what a stage throws that cannot start; AbortError
 */
export async function gpuBench(
  settings: GpuBenchSettings,
  onStep: (words: string) => void,
  signal: AbortSignal,
): Promise<GpuBench> {
  const { interpreter, laneBytes, betweenBytes } = settings;
  const report = await readGpus(interpreter);
  checkGpus(report);
  process.env[INTERPRETER] = interpreter;
  const workflows = await importWorkflows(report.gpus.length);
  onStep('copies within one process');
  const copies = await measureCopies(workflows.gpuCopies, settings, signal);
  const rows = [
    gpuRow(
      { what: 'from a lane to the GPU', bytes: laneBytes, than: 'tensor.cuda() of pinned memory' },
      copies.laneUs,
      copies.pinnedUs,
    ),
  ];
  const between = report.gpus.length > 1 ? 'from GPU to GPU within one process' : 'on the GPU within one process';
  for (const pollUs of [undefined, ATTENTIVE_US]) {
    const what = `from the GPU of one stage to that of the next${pollUs === undefined ? '' : `, pollUs ${pollUs}`}`;
    onStep(what);
    const { totalUs, ways } = await measureBetween(workflows.gpuHandOver, settings, pollUs, signal);
    if (ways.some((way) => way !== 'GpuTensor')) {
      throw new RdmaError('RDMA_ERR_INTERNAL', 'the output went through memory of the host: see onepiece doctor');
    }
    rows.push(gpuRow({ what, bytes: betweenBytes, than: between }, totalUs, copies.betweenUs));
  }
  const gpus = report.gpus.map(({ name }) => name);
  return {
    schemaVersion: 1,
    machine: machine(),
    python: await pythonVersion(interpreter),
    gpus,
    driver: report.driver,
    rows,
    failures: [],
  };
}

type Workflows = typeof import('./gpu-workflow.js');

async function importWorkflows(gpus: number): Promise<Workflows> {
  process.env[GPUS] = String(gpus);
  return import('./gpu-workflow.js');
}

interface Copies {
  readonly laneUs: number[];
  readonly pinnedUs: number[];
  readonly betweenUs: number[];
}

async function measureCopies(
  flow: Workflows['gpuCopies'],
  { laneBytes, betweenBytes, rounds }: GpuBenchSettings,
  signal: AbortSignal,
): Promise<Copies> {
  const pipeline = await LocalPipeline.start(flow, { startTimeoutMs: START_TIMEOUT_MS });
  try {
    const x = tensor(
      'u8',
      [laneBytes],
      Uint8Array.from({ length: laneBytes }, (_, i) => (i * 31) % 251),
    );
    const { outputs } = await pipeline.run({ meta: { betweenBytes, rounds }, parts: { x } }, { signal });
    return outputs[0]!.meta as unknown as Copies;
  } finally {
    await pipeline.close();
  }
}

async function measureBetween(
  flow: Workflows['gpuHandOver'],
  { betweenBytes: bytes, rounds }: GpuBenchSettings,
  pollUs: number | undefined,
  signal: AbortSignal,
): Promise<{ totalUs: number[]; ways: string[] }> {
  const options = { startTimeoutMs: START_TIMEOUT_MS, ...(pollUs === undefined ? {} : { pollUs }) };
  const pipeline = await LocalPipeline.start(flow, options);
  try {
    const totalUs: number[] = [];
    const ways = new Set<string>();
    for (let i = 0; i < WARM_UP + rounds; i++) {
      const value = i % 251;
      const { outputs } = await pipeline.run({ meta: { bytes, value } }, { signal });
      const found = outputs[0]!.meta as { totalUs: number; low: number; high: number; kind: string };
      if (found.low !== value || found.high !== value) {
        const words = `round ${i} has bytes from ${found.low} to ${found.high}, not ${value}`;
        throw new RdmaError('RDMA_ERR_INTERNAL', words);
      }
      ways.add(found.kind);
      if (i >= WARM_UP) totalUs.push(found.totalUs);
    }
    return { totalUs, ways: [...ways] };
  } finally {
    await pipeline.close();
  }
}
