// What the benchmark commands with peers have in common: their settings are checked as usage, and a run shows its
// progress, can be interrupted, and prints a table or a document.
//
// Invariant: nothing is printed on stdout before everything was measured. What could not be measured makes the exit
// code 1, and the rest is still printed.
import { isRdmaError } from '../core/errors.js';
import { ExitCode, interruptible, UsageError } from './exit.js';
import { Progress } from './progress.js';

/** Flags that such commands share. */
export interface BenchFlags {
  compare?: readonly string[];
  json?: true;
}

/** What a benchmark is given beside its settings. */
export interface BenchSurroundings {
  /** Peers that are not installed are left out, as all were asked for. */
  readonly skipMissing: boolean;
  readonly onStep: (words: string) => void;
  readonly onNote: (words: string) => void;
  readonly signal: AbortSignal;
}

/** What was measured. */
export interface Benched {
  readonly document: { readonly failures: readonly unknown[] };
  /** The document for people. */
  readonly text: () => string;
}

/** Checks settings that somebody typed. @throws UsageError with the words of the check */
export function usable<Settings>(check: () => Settings): Settings {
  try {
    return check();
  } catch (error) {
    if (isRdmaError(error)) throw new UsageError(error.message);
    throw error;
  }
}

/** Measures and prints. @returns the exit code */
export async function runBench(
  { compare = [], json }: BenchFlags,
  measure: (surroundings: BenchSurroundings) => Promise<Benched>,
): Promise<number> {
  let failed = false;
  const code = await interruptible(async (signal) => {
    const progress = new Progress();
    const onNote = (words: string) => {
      progress.clear();
      process.stderr.write(`onepiece: ${words}\n`);
    };
    const onStep = (words: string) => progress.update(words);
    try {
      const { document, text } = await measure({ skipMissing: compare.includes('all'), onStep, onNote, signal });
      failed = document.failures.length > 0;
      progress.clear();
      process.stdout.write(json ? `${JSON.stringify(document, null, 2)}\n` : text());
    } finally {
      progress.clear();
    }
  });
  return code === ExitCode.OK && failed ? ExitCode.FAILURE : code;
}
