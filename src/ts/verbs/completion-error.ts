// A failed completion in words, with what likely caused it and what to do.
//
// Invariant: every status of ibv_wc_status has words and a remedy of its own.
// Source: ibv_poll_cq(3); InfiniBand Architecture 1.3, 11.6.2 (completion return status).
import { RdmaError } from '../core/errors.js';

const READ_THE_LIMITS = "compare the message with the device's maxMessageBytes and the queue pair's capabilities";
const NOT_OF_RC = 'only reliable-datagram contexts have it: the driver is wrong, report it with vendorError';

/** [what happened, what to do about it], by status. */
const statuses: readonly (readonly [string, string])[] = [
  ['success', 'nothing to do'],
  [
    'local length error: the message is longer than the receive buffer, or than the device can send',
    `post larger receives; ${READ_THE_LIMITS}`,
  ],
  [
    'local queue pair operation error: the queue pair cannot carry out this request',
    'look at the scatter-gather list, the inline size and that every lkey is of the same protection domain',
  ],
  ['local EE context operation error', NOT_OF_RC],
  [
    'local protection error: a scatter-gather element lies outside its memory region or lacks the right',
    'check address, length and lkey; receives and READs need LOCAL_WRITE; do not close a region that is in use',
  ],
  [
    'flushed: the queue pair is in the error state',
    'look for the first completion with another status, it is the cause; then connect again with a new queue pair',
  ],
  [
    'memory window bind error: the region does not allow the window',
    'register it with MW_BIND (and LOCAL_WRITE for remote writing), and bind within its bounds',
  ],
  ['bad response: the peer answered with an unexpected packet', 'both sides must agree on PSN and queue pair number'],
  [
    'local access error: a WRITE_WITH_IMM or READ met local memory without the right',
    'register the memory with LOCAL_WRITE',
  ],
  [
    'remote invalid request: the peer does not allow this operation or its receive buffer is too short',
    "give the peer's queue pair the right (accessFlags), or post longer receives there",
  ],
  [
    'remote access error: wrong rkey, out of bounds, or a right that the region does not give',
    "check address and rkey against the peer's region, that it is open still, and its access flags",
  ],
  [
    'remote operation error: the peer could not complete the operation',
    "see the peer's own completions and asynchronous events",
  ],
  [
    'retry exceeded: the peer is gone or does not answer',
    'the peer died or closed its queue pair; else a firewall (RoCE v2 is UDP port 4791), a path MTU larger than the ' +
      'network carries, or a wrong GID or destQpNum',
  ],
  [
    'receiver-not-ready retry exceeded: the peer posts no receives',
    'post receives before the peer sends, or set rnrRetry 7 (for ever)',
  ],
  ['local RDD violation', NOT_OF_RC],
  ['remote invalid RD request', NOT_OF_RC],
  ['remote aborted: the peer aborted the operation', "see the peer's own completions"],
  ['invalid EE context number', NOT_OF_RC],
  ['invalid EE context state', NOT_OF_RC],
  [
    'fatal error: the device or the queue pair failed',
    "close the device and open it again; the kernel's log (dmesg) has the cause",
  ],
  [
    'response time-out: the answer did not come in time',
    'the peer is gone or overloaded; raise timeout if the way is long',
  ],
  ['general error: the transport could not be used', "the kernel's log (dmesg) and vendorError have more"],
  ['tag-matching error', 'tag-matching queues are not used by this library'],
  ['tag-matching rendezvous incomplete', 'the remaining data must be fetched by software'],
];

/**
 * A completion status in words.
 *
 * @param status a value of CompletionStatus (ibv_wc_status)
 * @returns words with the likely cause; the number for a status that verbs does not have
 * @see ibv_poll_cq(3)
 */
export function completionStatusWords(status: number): string {
  return statuses[status]?.[0] ?? `completion status ${status}`;
}

/** What to do about a completion status; undefined for one that verbs does not have. */
export function completionRemedy(status: number): string | undefined {
  return statuses[status]?.[1];
}

/** What is known of a completion besides its status. */
export interface CompletionContext {
  qpNum?: number;
  /** The driver's own code. */
  vendorError?: number;
  /** What failed, for people: `WRITE of 64 bytes`. */
  operation?: string;
}

/** A work request that completed with an error. `code` is RDMA_ERR_COMPLETION. */
export class CompletionError extends RdmaError {
  /** A value of CompletionStatus. */
  readonly status: number;
  /** The driver's own code; 0 when it gave none. */
  readonly vendorError: number;
  /** The queue pair; 0 when not known. */
  readonly qpNum: number;

  /** @internal Use {@link completionError}. */
  constructor(status: number, context: CompletionContext) {
    const { qpNum = 0, vendorError = 0, operation } = context;
    const what = operation === undefined ? '' : `${operation}: `;
    const where = qpNum === 0 ? '' : ` on queue pair ${qpNum}`;
    const vendor = vendorError === 0 ? '' : `, vendor error 0x${vendorError.toString(16)}`;
    const details = { remedy: completionRemedy(status) };
    super(
      'RDMA_ERR_COMPLETION',
      `${what}${completionStatusWords(status)} (status ${status}${where}${vendor})`,
      details,
    );
    this.status = status;
    this.vendorError = vendorError;
    this.qpNum = qpNum;
  }
}

/**
 * The error for a completion that is not SUCCESS.
 *
 * @param status a value of CompletionStatus
 * @returns it, with the likely cause and a remedy; it is returned, not thrown
 */
export function completionError(status: number, context: CompletionContext = {}): CompletionError {
  return new CompletionError(status, context);
}
