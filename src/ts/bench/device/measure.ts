// `bench device`: everything that two processes can do with a device, one after the other.
//
// Invariant: the tests run in this order, each beside what it is judged by, and nothing else runs meanwhile.
import { checkInteger, checkOneOf } from '../../core/validate.js';
import { copyRatio } from './copies.js';
import { HUGE_BYTES } from './event-loop.js';
import { type DeviceTest, deviceTests } from './tests.js';
import { Initiator } from './initiator.js';
import { type DeviceResult, latencyOf, resultOf } from './result.js';
import { BATCH, SMALL_BYTES } from './side.js';

export interface DeviceBenchOptions {
  device: string;
  tests: readonly DeviceTest[];
  /** Samples of the smallest requests, 100 to 10 million; larger ones have fewer. */
  iterations: number;
  /** Of write-copy, in bytes; each at most 1 GiB. */
  copySizes: readonly number[];
  /** How long the idle process is looked at, 1 to 3600. */
  idleSeconds: number;
  signal?: AbortSignal | undefined;
  /** Told before each measurement. */
  onStep?: (words: string) => void;
}

export const MAX_COPY_BYTES = 2 ** 30;

/** Bytes that are copied for one size, at the default number of iterations. */
const COPY_BYTES = 2 ** 32;
const DEFAULT_ITERATIONS = 200_000;
const [MIN_COPIES, MAX_COPIES] = [20, 2000];
const MAX_HUGE_WRITES = 5;

export const defaultOptions = {
  iterations: DEFAULT_ITERATIONS,
  copySizes: [2 ** 20, 4 * 2 ** 20, 16 * 2 ** 20, 64 * 2 ** 20],
  idleSeconds: 2,
};

/**
 * Measures.
 *
 * @throws RdmaError RDMA_ERR_NO_DEVICE; RDMA_ERR_INVALID_ARGUMENT; what a request failed with; RDMA_ERR_PEER_GONE;
 *   RDMA_ERR_TIMEOUT; RDMA_ERR_ABORTED
 */
export async function measureDevice(options: DeviceBenchOptions): Promise<DeviceResult[]> {
  const { device, tests, copySizes, signal, onStep = () => {} } = options;
  for (const test of tests) checkOneOf('test', test, deviceTests);
  for (const size of copySizes) checkInteger('copy size', size, 4, MAX_COPY_BYTES);
  const iterations = checkInteger('iterations', options.iterations, 100, 10_000_000);
  const idleSeconds = checkInteger('idleSeconds', options.idleSeconds, 1, 3600);
  const results: DeviceResult[] = [];
  onStep(`opening ${device}`);
  const initiator = await Initiator.open(device, signal);
  const row = (test: DeviceTest, parts: Parameters<typeof resultOf>[2]) => results.push(resultOf(device, test, parts));
  const measures: Record<DeviceTest, () => Promise<void>> = {
    'write-seen': async () => {
      const latencyUs = latencyOf((await initiator.untilSeen(iterations)).sort());
      row('write-seen', { sizeBytes: SMALL_BYTES, iterations, latencyUs, value: latencyUs.p50! });
    },
    'write-batch': async () => {
      const batches = Math.ceil(iterations / 4);
      const samples = (await initiator.batches(batches)).sort();
      const tookUs = samples.reduce((sum, us) => sum + us, 0);
      const messages = batches * BATCH;
      const messagesPerSecond = Math.round((messages / tookUs) * 1e6);
      const value = messagesPerSecond / 1e6;
      const details = { batchP50Us: latencyOf(samples).p50!, batchP99Us: latencyOf(samples).p99! };
      row('write-batch', { sizeBytes: SMALL_BYTES, iterations: messages, messagesPerSecond, value, details });
    },
    'write-copy': async () => {
      for (const sizeBytes of copySizes) {
        onStep(`write-copy ${sizeBytes / 2 ** 20} MiB`);
        const wanted = (COPY_BYTES / sizeBytes) * (iterations / DEFAULT_ITERATIONS);
        const rounds = Math.round(Math.min(Math.max(wanted, MIN_COPIES), MAX_COPIES));
        const copied = await initiator.copies(sizeBytes, rounds);
        const rate = (us: number | null) => (us === null ? null : Math.round(sizeBytes / us) / 1000);
        const ours = latencyOf(copied.writeUs);
        const ratio = copyRatio(copied);
        const common = { sizeBytes, iterations: rounds };
        const value = ratio === null ? {} : { value: ratio };
        row('write-copy', { ...common, latencyUs: ours, gigabytesPerSecond: rate(ours.p50), ...value });
        if (copied.memcpyUs === undefined) continue;
        const theirs = latencyOf(copied.memcpyUs);
        row('write-copy', { ...common, peer: 'memcpy', latencyUs: theirs, gigabytesPerSecond: rate(theirs.p50) });
      }
    },
    read: async () => {
      const latencyUs = latencyOf((await initiator.reads(iterations)).sort());
      row('read', { sizeBytes: SMALL_BYTES, iterations, latencyUs, value: latencyUs.p50! });
    },
    wake: async () => {
      const rounds = Math.ceil(iterations / 100);
      const wakes = await initiator.wakeUps(rounds);
      const ours = latencyOf(wakes.device.sort());
      const theirs = latencyOf(wakes.eventfd.sort());
      const common = { sizeBytes: SMALL_BYTES, iterations: rounds };
      row('wake', { ...common, latencyUs: ours, value: ours.p50! / theirs.p50! });
      row('wake', { ...common, peer: 'eventfd', latencyUs: theirs });
    },
    'event-loop': async () => {
      const rounds = Math.min(Math.ceil(iterations / 20_000), MAX_HUGE_WRITES);
      const { longestMs, idleMs, writeMs, callMs } = await initiator.loopGaps(rounds);
      const details = {
        medianGapMs: longestMs[rounds >> 1]!,
        callMs: callMs[rounds - 1]!,
        idleGapMs: idleMs[rounds - 1]!,
        idleMedianGapMs: idleMs[rounds >> 1]!,
        writeMs: writeMs[0]!,
      };
      row('event-loop', { sizeBytes: HUGE_BYTES, iterations: rounds, value: longestMs[rounds - 1]!, details });
    },
    idle: async () => {
      const { cpuPercent, cpuMs, wakes, threads, seconds } = await initiator.idle(idleSeconds);
      row('idle', { iterations: 1, value: cpuPercent, details: { cpuMs, wakes, threads, seconds } });
    },
  };
  try {
    for (const test of deviceTests) {
      if (!tests.includes(test)) continue;
      onStep(test);
      await measures[test]();
    }
  } finally {
    await initiator.close();
  }
  return results;
}
