// Failures as problem documents (RFC 9457).
//
// Invariant: a document says the code and the words of an RdmaError and never a stack; what is no RdmaError is a
// defect, of which the client learns the number of its request and nothing else. A refusal that passes says when to
// come back.
import { isRdmaError, RdmaError, type RdmaErrorDetails, type ErrorCode } from '../core/errors.js';

export const PROBLEM_TYPE = 'application/problem+json';

/** What a problem document says. */
export interface Problem {
  /** A page of the documentation of the code; here always `about:blank`, as the code says it. */
  type: 'about:blank';
  title: string;
  status: number;
  /** For people: what went wrong and what to do about it. */
  detail: string;
  /** The number of the request, which the log has too. */
  instance: string;
  /** One of the library's codes. */
  code: string;
  remedy?: string;
  retryAfterMs?: number;
  /** Sent back as `Retry-Token` with the retry, it keeps the place. */
  retryToken?: string;
  stage?: string;
  expectedWaitMs?: number;
}

/** A failure with the status that it is answered with. */
export class HttpError extends Error {
  readonly status: number;
  readonly error: RdmaError;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, error: RdmaError, headers: Readonly<Record<string, string>> = {}) {
    super(error.message, { cause: error });
    this.status = status;
    this.error = error;
    this.headers = headers;
  }
}

/** Makes an HttpError. */
export function httpError(status: number, code: ErrorCode, text: string, details: RdmaErrorDetails = {}): HttpError {
  return new HttpError(status, new RdmaError(code, text, details));
}

/** What the statuses of this server are called (RFC 9110, section 15; RFC 6585). */
export const STATUS_TITLES: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  406: 'Not Acceptable',
  408: 'Request Timeout',
  409: 'Conflict',
  413: 'Content Too Large',
  415: 'Unsupported Media Type',
  416: 'Range Not Satisfiable',
  421: 'Misdirected Request',
  429: 'Too Many Requests',
  422: 'Unprocessable Content',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
};

/** The status of each code that may come from jobs and the pipeline; of any other 500. */
export const CODE_STATUSES: Readonly<Record<string, number>> = {
  RDMA_ERR_INVALID_ARGUMENT: 400,
  RDMA_ERR_UNAUTHENTICATED: 401,
  RDMA_ERR_NOT_FOUND: 404,
  RDMA_ERR_ABORTED: 409,
  RDMA_ERR_CANCELLED: 409,
  RDMA_ERR_MESSAGE_TOO_LARGE: 413,
  RDMA_ERR_CONFLICT: 422,
  RDMA_ERR_NOT_SUPPORTED: 406,
  RDMA_ERR_REJECTED: 429,
  RDMA_ERR_STORE_FULL: 503,
  RDMA_ERR_BUSY: 503,
  RDMA_ERR_QUEUE_FULL: 503,
  RDMA_ERR_CLOSED: 503,
  RDMA_ERR_DEADLINE: 504,
  RDMA_ERR_TIMEOUT: 504,
};

/** After how many ms to come back when a refusal that passes does not say it. */
const DEFAULT_RETRY_MS = 1000;

/** A problem document and how it is sent. */
export interface ProblemAnswer {
  status: number;
  headers: Record<string, string>;
  problem: Problem;
  /** Whether the log should have the error: it is a defect of the server or the workflow. */
  isDefect: boolean;
}

/**
 * Makes the document of a failure.
 *
 * @param error anything that was thrown
 * @param requestId the number of the request
 */
export function problemOf(error: unknown, requestId: string): ProblemAnswer {
  const { status, cause, headers: own } = sorted(error);
  const headers: Record<string, string> = { ...own, 'content-type': PROBLEM_TYPE };
  const { code, message, remedy, retryAfterMs, retryToken, stage, expectedWaitMs } = cause;
  const problem: Problem = {
    type: 'about:blank',
    title: STATUS_TITLES[status] ?? 'Error',
    status,
    detail: detailOf(message, code, remedy),
    instance: `urn:request:${requestId}`,
    code,
  };
  if (remedy !== undefined) problem.remedy = remedy;
  const passes = status === 429 || status === 503;
  const waitMs = retryAfterMs ?? (passes ? DEFAULT_RETRY_MS : undefined);
  if (waitMs !== undefined) {
    problem.retryAfterMs = Math.ceil(waitMs);
    if (passes) headers['retry-after'] = String(Math.max(1, Math.ceil(waitMs / 1000)));
  }
  if (retryToken !== undefined) problem.retryToken = retryToken;
  if (stage !== undefined) problem.stage = stage;
  if (expectedWaitMs !== undefined) problem.expectedWaitMs = expectedWaitMs;
  return { status, headers, problem, isDefect: status === 500 };
}

// Code and remedy have fields of their own.
function detailOf(message: string, code: string, remedy: string | undefined): string {
  const words = message.startsWith(`${code}: `) ? message.slice(code.length + 2) : message;
  const end = remedy === undefined ? '' : ` (${remedy})`;
  return (words.endsWith(end) ? words.slice(0, words.length - end.length) : words).replace(/\s+/g, ' ').slice(0, 2000);
}

function sorted(error: unknown): { status: number; cause: RdmaError; headers: Readonly<Record<string, string>> } {
  if (error instanceof HttpError) return { status: error.status, cause: error.error, headers: error.headers };
  if (isRdmaError(error)) return { status: statusOf(error), cause: error, headers: {} };
  const known = ofFastify(error);
  if (known !== undefined) return { status: known.status, cause: known.error, headers: known.headers };
  const text = 'the server failed; its log has the reason under the number of this request';
  return { status: 500, cause: new RdmaError('RDMA_ERR_INTERNAL', text), headers: {} };
}

// A client that has to wait until a stage starts has not sent too much.
function statusOf({ code, cause }: RdmaError): number {
  if (code === 'RDMA_ERR_REJECTED' && isRdmaError(cause) && cause.code === 'RDMA_ERR_BUSY') return 503;
  return CODE_STATUSES[code] ?? 500;
}

/**
 * Fastify's own refusals, which carry a status from 400 to 499 and words for the client (its documentation, "Errors").
 */
function ofFastify(error: unknown): HttpError | undefined {
  const { statusCode, code, message } = (error ?? {}) as { statusCode?: unknown; code?: unknown; message?: unknown };
  if (typeof statusCode !== 'number' || statusCode < 400 || statusCode > 499 || typeof message !== 'string')
    return undefined;
  const own = {
    404: 'RDMA_ERR_NOT_FOUND',
    408: 'RDMA_ERR_TIMEOUT',
    413: 'RDMA_ERR_MESSAGE_TOO_LARGE',
    415: 'RDMA_ERR_NOT_SUPPORTED',
  } as const;
  const ours = own[statusCode as keyof typeof own] ?? 'RDMA_ERR_INVALID_ARGUMENT';
  const about = typeof code === 'string' && code.startsWith('FST_') ? message : `the request is malformed: ${message}`;
  return httpError(statusCode, ours, about);
}
