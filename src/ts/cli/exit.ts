// How a command ends: exit codes, one line for an error, and cleaning up when it is interrupted.
//
// Invariant: 0 success, 1 failure, 2 usage, 3 no device, 128 + n after signal n; an error is one line on stderr.
import { isRdmaError } from '../core/errors.js';

export const ExitCode = { OK: 0, FAILURE: 1, USAGE: 2, NO_DEVICE: 3 } as const;

/** A command line that makes no sense; `message` is for the person who typed it. */
export class UsageError extends Error {}

/** Signals that ask a command to end, with their numbers. */
export const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

/**
 * Does `work`, whose `signal` is aborted when the process is asked to end, so that what was begun can be undone first.
 *
 * @returns the exit code: 0, or that of the signal that ended the work
 * @throws what the work throws when it was not interrupted
 */
export async function interruptible(work: (signal: AbortSignal) => Promise<void>): Promise<number> {
  const controller = new AbortController();
  let code: number | undefined;
  const handlers = Object.entries(SIGNALS).map(([name, number]) => {
    const handler = () => {
      code ??= 128 + number;
      controller.abort();
    };
    process.on(name, handler);
    return { name, handler };
  });
  try {
    await work(controller.signal);
    return ExitCode.OK;
  } catch (error) {
    if (code !== undefined) return code;
    throw error;
  } finally {
    for (const { name, handler } of handlers) process.off(name, handler);
  }
}

/** What an error means for the exit code. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof UsageError) return ExitCode.USAGE;
  if (isRdmaError(error) && error.code === 'RDMA_ERR_NO_DEVICE') return ExitCode.NO_DEVICE;
  return ExitCode.FAILURE;
}

/** Throws a UsageError for what the person who typed the command has to change, and otherwise what it is given. */
export function asUsage(error: unknown): never {
  if (isRdmaError(error) && error.code === 'RDMA_ERR_INVALID_ARGUMENT') throw new UsageError(error.message);
  throw error;
}

/** An error as one line. */
export function errorLine(error: unknown): string {
  const words = error instanceof Error ? error.message : String(error);
  // What a file or a peer has sent may be in it: no control character reaches the terminal.
  return `onepiece: ${words
    .replace(/\s+/g, ' ')
    .replace(/\p{Cc}/gu, '?')
    .trim()}`;
}
