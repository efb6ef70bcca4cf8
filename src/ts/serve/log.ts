// The log of a server, by pino, an optional peer dependency; this is the only file that loads it.
//
// Invariant: lines are JSON on stderr. A line about a request has its number, route, status and duration, and nothing
// that its client sent: no query, no header, no body.
import type { LoggerOptions } from 'pino';
import { loadPeer } from './peer.js';

/** How much is logged. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
/** One of them. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Where a server says what happens. */
export interface Log {
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
  error(fields: object, text: string): void;
}

/** Says nothing. */
export const SILENT: Log = { info: () => {}, warn: () => {}, error: () => {} };

/**
 * Opens the log.
 *
 * @param level nothing below it is logged
 * @param destination a file descriptor; default 2, stderr
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED when pino is not installed
 */
export async function openLog(level: LogLevel, destination = 2): Promise<Log> {
  const { pino } = await loadPeer('pino', () => import('pino'));
  const options: LoggerOptions<never> = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: errorFields },
  };
  return pino(options, pino.destination({ dest: destination, sync: true }));
}

// What an error says; its stack is for whoever runs the server.
function errorFields(error: unknown): object {
  if (!(error instanceof Error)) return { message: String(error) };
  const { name, message, stack } = error;
  const { code } = error as { code?: unknown };
  const cause = error.cause instanceof Error ? errorFields(error.cause) : undefined;
  return { name, code, message, stack, cause };
}
