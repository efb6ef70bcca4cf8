// What the programs of the tests share, which are commands of their own. Not a test.
import { writeSync } from 'node:fs';

/** Prints a line at once and whole: a process that is killed leaves no half of one. */
export function printLine(...words: (string | number)[]): void {
  try {
    writeSync(1, `${words.join(' ')}\n`);
  } catch {
    process.exit(1); // nobody reads any more: who started this has ended
  }
}

/**
 * Runs a program until its exit code.
 *
 * @param usage what it prints, with the exit code 2, for options that make no sense: a RangeError, or one of
 *   parseArgs()
 */
export function runProgram(main: () => Promise<number>, usage: string): void {
  main().then(
    (code) => {
      process.exitCode = code;
    },
    (error: Error & { code?: string }) => {
      const wrongUse = error instanceof RangeError || error.code?.startsWith('ERR_PARSE_ARGS');
      process.stderr.write(wrongUse ? `${error.message}\n\n${usage}` : `${error.stack}\n`);
      process.exitCode = wrongUse ? 2 : 1;
    },
  );
}
