// What happens when stdout or stderr cannot be written.
//
// Invariant: no stack trace. A reader that stops, as `head` does, has what it wanted. A result that could not
// be written is a failure, reported in one line; where stderr cannot be written either, nothing is reported.
import { errorLine, ExitCode } from './exit.js';

/** Watches both, until the process ends. */
export function watchStandardStreams(): void {
  process.stderr.on('error', () => {});
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(ExitCode.OK);
    process.stderr.write(`${errorLine(new Error(`the output cannot be written: ${error.message}`))}\n`);
    process.exit(ExitCode.FAILURE);
  });
}
