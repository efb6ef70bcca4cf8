// `onepiece bench python`: the bridge between Node.js and Python, beside what Python programs use.
//
// Invariant: a peer does the same work: it fills an array, hands it over, and sums it; each row says from filled to
// summed. Nothing is copied that is not counted.
import { LocalPipeline } from '../../cluster/index.js';
import { wordsOf } from '../kit/beside.js';
import { type Machine, machine } from '../kit/machine.js';
import { type LatencySummary, summarizeLatency } from '../kit/statistics.js';
import type { PythonPeer } from './peer.js';
import { pythonVersion } from './python-version.js';
import { measureRoundTrips } from './round-trip.js';
import { INTERPRETER, type PythonBenchSettings } from './settings.js';

const WARM_UP = 3;

export interface PythonRow {
  readonly what: string;
  readonly bytes: number;
  readonly latencyUs: LatencySummary;
  /** Bytes of tensors that were copied between the two stages; null where nobody counts. */
  readonly copiedBytes: number | null;
}

export interface PythonBench {
  readonly schemaVersion: 1;
  readonly machine: Machine;
  readonly python: string;
  readonly rows: readonly PythonRow[];
  /** Peers that were left out, as they are not installed, and how they are. */
  readonly missing: readonly Unmeasured[];
  readonly failures: readonly Unmeasured[];
}

/** A peer that was not measured. */
export interface Unmeasured {
  readonly what: string;
  readonly reason: string;
}

/**
 * Measures all rows; a peer that is not installed is left out, one that fails is a failure, and the others are still
 * measured.
 *
 * @throws RdmaError of our own rows; AbortError
 */
export async function pythonBench(
  settings: PythonBenchSettings,
  peers: readonly PythonPeer[],
  onStep: (words: string) => void,
  signal: AbortSignal,
): Promise<PythonBench> {
  const { handOverBytes, interpreter } = settings;
  const rows: PythonRow[] = [];
  const missing: Unmeasured[] = [];
  const failures: Unmeasured[] = [];
  const add = (what: string, bytes: number, us: readonly number[], copiedBytes: number | null) =>
    rows.push({ what, bytes, latencyUs: summarizeLatency(Float64Array.from(us).sort()), copiedBytes });
  onStep('round trips of a task without work');
  const { busy, rested } = await measureRoundTrips(settings, signal);
  add('a no-op task, Node.js to Python and back', 64, busy, null);
  add(`the same, ${settings.restMs} ms after the last`, 64, rested, null);
  onStep('from one stage to the next');
  const { us, copiedBytes } = await measureHandOver(settings, signal);
  add('from one stage in Python to the next', handOverBytes, us, copiedBytes);
  for (const peer of peers) {
    const { what } = peer;
    onStep(what);
    try {
      peer.check(interpreter);
    } catch (error) {
      missing.push({ what, reason: wordsOf(error) });
      continue;
    }
    try {
      add(what, handOverBytes, await peer.measure(settings, WARM_UP, signal), null);
    } catch (error) {
      signal.throwIfAborted();
      failures.push({ what, reason: wordsOf(error) });
    }
  }
  const python = await pythonVersion(interpreter);
  return { schemaVersion: 1, machine: machine(), python, rows, missing, failures };
}

async function measureHandOver(
  { interpreter, handOverBytes, handOvers }: PythonBenchSettings,
  signal: AbortSignal,
): Promise<{ us: number[]; copiedBytes: number }> {
  process.env[INTERPRETER] = interpreter;
  const { handOver } = await import('./workflow.js');
  const pipeline = await LocalPipeline.start(handOver);
  try {
    const us: number[] = [];
    for (let i = 0; i < WARM_UP + handOvers; i++) {
      const { outputs } = await pipeline.run({ meta: { bytes: handOverBytes, value: i + 1 } }, { signal });
      if (i >= WARM_UP) us.push((outputs[0]!.meta as { us: number }).us);
    }
    const { stages } = await pipeline.status();
    const copied = ['fill/0', 'read/0'].map((place) => stages[place]?.python?.copiedBytes ?? Number.NaN);
    return { us, copiedBytes: copied[0]! + copied[1]! };
  } finally {
    await pipeline.close();
  }
}
