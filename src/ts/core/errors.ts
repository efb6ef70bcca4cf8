// Invariant: everything this library throws or reports is an RdmaError whose `code` a program can compare and whose
// message a person can act on; an error survives a trip through JSON with its code, errno, syscall, remedy and cause.

import os from 'node:os';
import util from 'node:util';
import { errnoRemedy } from './errno-remedy.js';

/**
 * The library's own failure codes. A failed system call keeps the system's name instead (`ENOMEM`, `ECONNREFUSED`...).
 */
export const ErrorCodes = {
  INVALID_ARGUMENT: 'RDMA_ERR_INVALID_ARGUMENT',
  CLOSED: 'RDMA_ERR_CLOSED',
  NO_DEVICE: 'RDMA_ERR_NO_DEVICE',
  NOT_SUPPORTED: 'RDMA_ERR_NOT_SUPPORTED',
  NATIVE_MISSING: 'RDMA_ERR_NATIVE_MISSING',
  HANDSHAKE: 'RDMA_ERR_HANDSHAKE',
  UNAUTHENTICATED: 'RDMA_ERR_UNAUTHENTICATED',
  VERSION: 'RDMA_ERR_VERSION',
  REFUSED: 'RDMA_ERR_REFUSED',
  TIMEOUT: 'RDMA_ERR_TIMEOUT',
  ABORTED: 'RDMA_ERR_ABORTED',
  PEER_GONE: 'RDMA_ERR_PEER_GONE',
  PROTOCOL: 'RDMA_ERR_PROTOCOL',
  MESSAGE_TOO_LARGE: 'RDMA_ERR_MESSAGE_TOO_LARGE',
  FENCED: 'RDMA_ERR_FENCED',
  QUEUE_FULL: 'RDMA_ERR_QUEUE_FULL',
  COMPLETION: 'RDMA_ERR_COMPLETION',
  BUSY: 'RDMA_ERR_BUSY',
  HANDLER: 'RDMA_ERR_HANDLER',
  REJECTED: 'RDMA_ERR_REJECTED',
  STAGE_FAILED: 'RDMA_ERR_STAGE_FAILED',
  STAGE_PROCESS: 'RDMA_ERR_STAGE_PROCESS',
  DEADLINE: 'RDMA_ERR_DEADLINE',
  CANCELLED: 'RDMA_ERR_CANCELLED',
  NOT_FOUND: 'RDMA_ERR_NOT_FOUND',
  CONFLICT: 'RDMA_ERR_CONFLICT',
  STORE_FULL: 'RDMA_ERR_STORE_FULL',
  INTERNAL: 'RDMA_ERR_INTERNAL',
} as const;

/** One of the library's domain codes. */
export type ErrorCode = (typeof ErrorCodes)[keyof typeof ErrorCodes];

/** True for a domain code of this version. */
export function isErrorCode(code: unknown): code is ErrorCode {
  return (Object.values(ErrorCodes) as unknown[]).includes(code);
}

/**
 * What an error is called: a domain code, or the system's name of a failed call, such as `ENOMEM` (errno(3)) or
 * `EAI_AGAIN` (getaddrinfo(3)); `UNKNOWN` where the system has none.
 */
export type FailureCode = ErrorCode | `E${string}` | 'UNKNOWN';

/**
 * The code of a failed system call, as Node.js reports it.
 *
 * @returns `UNKNOWN` for what is no name that a system gives
 */
export function systemCode(code: unknown): `E${string}` | 'UNKNOWN' {
  return typeof code === 'string' && /^E[A-Z0-9_]+$/.test(code) ? (code as `E${string}`) : 'UNKNOWN';
}

/**
 * What a promise rejected with, as an error of this library: one that is, as it is; any other as RDMA_ERR_INTERNAL.
 *
 * @param words of the new one; default what `error` is as a string
 */
export function asRdmaError(error: unknown, words = String(error)): RdmaError {
  return isRdmaError(error) ? error : new RdmaError('RDMA_ERR_INTERNAL', words, { cause: error });
}

/** What an RdmaError may carry besides its code and words. */
export interface RdmaErrorDetails {
  /** The system's error number, negative as in Node's own errors. */
  errno?: number | undefined;
  /** The call that failed, for example `ibv_reg_mr`. */
  syscall?: string | undefined;
  /** What the reader can do about it. */
  remedy?: string | undefined;
  /** Of a rejection: after how many ms a retry makes sense. */
  retryAfterMs?: number | undefined;
  /** Of a rejection: what to give with the retry; room is kept for whoever has it. */
  retryToken?: string | undefined;
  /** Of a rejection: the stage that has no room in time. Of a failure: the stage that failed. */
  stage?: string | undefined;
  /** Of a rejection: how long the request would have waited, in ms. */
  expectedWaitMs?: number | undefined;
  /** The underlying failure, as in ECMAScript's `Error.cause`. */
  cause?: unknown;
}

/** The plain-JSON form of an RdmaError. */
export interface RdmaErrorJson {
  name: 'RdmaError';
  code: string;
  message: string;
  errno?: number;
  syscall?: string;
  remedy?: string;
  retryAfterMs?: number;
  retryToken?: string;
  stage?: string;
  expectedWaitMs?: number;
  cause?: RdmaErrorJson | { name: string; message: string };
}

/** How deep a chain of causes is carried through JSON; a deeper or cyclic chain is cut there. */
const MAX_CAUSE_DEPTH = 8;

/** Marks instances across copies of this package loaded side by side (CommonJS and ES module, two versions). */
const BRAND = Symbol.for('onepiece-rdma.RdmaError');

/**
 * The error of this library, in the shape of Node's system errors (Node.js documentation, "Class: SystemError").
 *
 * The message reads `code: words, syscall (remedy)`, leaving out what is not given.
 */
export class RdmaError extends Error {
  /**
   * One of ErrorCodes, or a system error name such as `ENOMEM`; stable, for programs. An error that came from a process
   * of a newer version may have a code that this version does not list.
   */
  readonly code: FailureCode;
  // Declared only, so that what is not given is not an own property, as in Node's errors.
  /** The system's error number, negative as in Node's errors. */
  declare readonly errno?: number;
  /** The call that failed, such as `ibv_reg_mr`. */
  declare readonly syscall?: string;
  /** What the reader can do about it. */
  declare readonly remedy?: string;
  /** Of a rejection: after how many ms a retry makes sense. */
  declare readonly retryAfterMs?: number;
  /** Of a rejection: what to give with the retry; room is kept for whoever has it. */
  declare readonly retryToken?: string;
  /** The stage that has no room in time, or that failed. */
  declare readonly stage?: string;
  /** Of a rejection: how long the request would have waited, in ms. */
  declare readonly expectedWaitMs?: number;

  /**
   * @param code one of ErrorCodes, or a system error name such as `ENOMEM`
   * @param message what went wrong, without code, syscall or remedy
   * @param details errno (negative), syscall, remedy, what a rejection says, and cause
   */
  constructor(code: FailureCode, message: string, details: RdmaErrorDetails = {}) {
    const { errno, syscall, remedy, retryAfterMs, retryToken, stage, expectedWaitMs } = details;
    const where = syscall === undefined ? '' : `, ${syscall}`;
    const advice = remedy === undefined ? '' : ` (${remedy})`;
    super(`${code}: ${message}${where}${advice}`, 'cause' in details ? { cause: details.cause } : undefined);
    this.code = code;
    if (errno !== undefined) this.errno = errno;
    if (syscall !== undefined) this.syscall = syscall;
    if (remedy !== undefined) this.remedy = remedy;
    if (retryAfterMs !== undefined) this.retryAfterMs = retryAfterMs;
    if (retryToken !== undefined) this.retryToken = retryToken;
    if (stage !== undefined) this.stage = stage;
    if (expectedWaitMs !== undefined) this.expectedWaitMs = expectedWaitMs;
    Object.defineProperty(this, BRAND, { value: true });
  }

  /** Returns a plain object that `JSON.stringify` and structured clone carry unchanged; the stack stays behind. */
  toJSON(): RdmaErrorJson {
    return toJson(this, 0);
  }

  /**
   * Rebuilds an error from `toJSON`'s form. Never throws: what is not such a form becomes an RDMA_ERR_PROTOCOL error
   * saying so, because the document may come from a peer.
   *
   * @param json the parsed document
   * @returns the error, with the original's message, code, errno, syscall, remedy and chain of causes
   */
  static fromJSON(json: unknown): RdmaError {
    return fromJson(json, 0);
  }
}
Object.defineProperty(RdmaError.prototype, 'name', { value: 'RdmaError', writable: true, configurable: true });

/**
 * Tells whether a value is an RdmaError, also one made by another loaded copy of this package.
 *
 * @param error any value
 */
export function isRdmaError(error: unknown): error is RdmaError {
  return error instanceof Error && (error as { [BRAND]?: unknown })[BRAND] === true;
}

/**
 * Makes the error for a failed system call. Names and words are the system's: errno(3), through `os.constants.errno`
 * and `util.getSystemErrorMap()`.
 *
 * @param negativeErrno the error number, negative as native code returns it (a positive one is taken as its negative)
 * @param syscall the call that failed
 * @param remedy what the reader can do about it; default that of errno-remedy.ts
 * @returns an RdmaError with the system's name as its code; it is returned, not thrown
 */
export function errnoError(negativeErrno: number, syscall: string, remedy?: string): RdmaError {
  const errno = -Math.abs(Math.trunc(negativeErrno)) || 0;
  const known = util.getSystemErrorMap().get(errno);
  namesByErrno ??= errnoNames();
  const code = systemCode(namesByErrno.get(errno) ?? known?.[0]);
  const words = ERRNO_WORDS[code] ?? known?.[1] ?? `unknown system error ${errno}`;
  return new RdmaError(code, words, { errno, syscall, remedy: remedy ?? errnoRemedy(code, syscall) });
}

/**
 * Names by negative number. Of two names for one number (EAGAIN and EWOULDBLOCK) the first listed is kept. Made for the
 * first error: that takes milliseconds, which a process that meets none saves.
 */
let namesByErrno: ReadonlyMap<number, string> | undefined;

function errnoNames(): Map<number, string> {
  const names = new Map<number, string>();
  const system = util.getSystemErrorMap();
  for (const [name, value] of Object.entries(os.constants.errno)) {
    const known = system.get(-value)?.[0];
    const preferred = known !== undefined && known in os.constants.errno ? known : name;
    if (!names.has(-value)) names.set(-value, preferred);
  }
  return names;
}

/** Words of errno(3) where libuv has none, or has words that mislead for a verbs call. */
const ERRNO_WORDS: Readonly<Record<string, string>> = {
  ENOMEM: 'cannot allocate memory',
  EPERM: 'operation not permitted',
  EIO: 'input/output error',
  ENOTSUP: 'operation not supported',
  EOPNOTSUPP: 'operation not supported',
  EBADMSG: 'bad message',
  ECHILD: 'no child processes',
  EDEADLK: 'resource deadlock avoided',
  EDOM: 'numerical argument out of domain',
  EDQUOT: 'disk quota exceeded',
  EIDRM: 'identifier removed',
  EINPROGRESS: 'operation now in progress',
  EMULTIHOP: 'multihop attempted',
  ENETRESET: 'network dropped connection on reset',
  ENOEXEC: 'exec format error',
  ENOLCK: 'no locks available',
  ENOLINK: 'link has been severed',
  ENOMSG: 'no message of desired type',
  ENOSR: 'out of streams resources',
  ENOSTR: 'device not a stream',
  ESTALE: 'stale file handle',
  ETIME: 'timer expired',
};

/** The fields of a document that may be anything, as it comes from another process. */
interface Untrusted {
  name?: unknown;
  code?: unknown;
  message?: unknown;
  errno?: unknown;
  syscall?: unknown;
  remedy?: unknown;
  retryAfterMs?: unknown;
  retryToken?: unknown;
  stage?: unknown;
  expectedWaitMs?: unknown;
  cause?: unknown;
}

function toJson(error: RdmaError, depth: number): RdmaErrorJson {
  const json: RdmaErrorJson = { name: 'RdmaError', code: error.code, message: error.message };
  if (error.errno !== undefined) json.errno = error.errno;
  if (error.syscall !== undefined) json.syscall = error.syscall;
  if (error.remedy !== undefined) json.remedy = error.remedy;
  if (error.retryAfterMs !== undefined) json.retryAfterMs = error.retryAfterMs;
  if (error.retryToken !== undefined) json.retryToken = error.retryToken;
  if (error.stage !== undefined) json.stage = error.stage;
  if (error.expectedWaitMs !== undefined) json.expectedWaitMs = error.expectedWaitMs;
  const cause = error.cause;
  if (cause === undefined || depth >= MAX_CAUSE_DEPTH) return json;
  if (isRdmaError(cause)) json.cause = toJson(cause, depth + 1);
  else if (cause instanceof Error) json.cause = { name: cause.name, message: cause.message };
  else json.cause = { name: 'Error', message: String(cause) };
  return json;
}

function fromJson(json: unknown, depth: number): RdmaError {
  const record: Untrusted = typeof json === 'object' && json !== null ? json : {};
  const { code, message, errno, syscall, remedy, retryAfterMs, retryToken, stage, expectedWaitMs } = record;
  if (typeof code !== 'string' || typeof message !== 'string') {
    return new RdmaError(ErrorCodes.PROTOCOL, 'a document that should describe an error does not');
  }
  const details: RdmaErrorDetails = {};
  if (typeof errno === 'number') details.errno = errno;
  if (typeof syscall === 'string') details.syscall = syscall;
  if (typeof remedy === 'string') details.remedy = remedy;
  if (typeof retryAfterMs === 'number') details.retryAfterMs = retryAfterMs;
  if (typeof retryToken === 'string') details.retryToken = retryToken;
  if (typeof stage === 'string') details.stage = stage;
  if (typeof expectedWaitMs === 'number') details.expectedWaitMs = expectedWaitMs;
  const cause = causeFromJson(record.cause, depth);
  if (cause !== undefined) details.cause = cause;
  // A peer of a newer version may have codes that are not known here.
  const error = new RdmaError(code as FailureCode, message, details);
  error.message = message;
  return error;
}

function causeFromJson(json: unknown, depth: number): Error | undefined {
  if (typeof json !== 'object' || json === null || depth >= MAX_CAUSE_DEPTH) return undefined;
  const { name, message }: Untrusted = json;
  if (name === 'RdmaError') return fromJson(json, depth + 1);
  const error = new Error(typeof message === 'string' ? message : 'unknown');
  if (typeof name === 'string') Object.defineProperty(error, 'name', { value: name });
  return error;
}
