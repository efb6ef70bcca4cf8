// The attempts to connect, first and again: one after another, with growing pauses, until a deadline.
//
// Invariant: at most one attempt at a time; an error that another attempt cannot fix ends it at once. After a first
// connection, an answer from a peer that has not proved that it knows the secret ends nothing: a stranger may hold the
// port of an inbox that is being restarted. There is a pause between attempts even if the peer accepts and hangs up
// again and again.
import { pause } from '../core/deadline.js';
import { isErrorCode, RdmaError } from '../core/errors.js';
import type { Clock } from './port.js';

const FIRST_RETRY_MS = 10;
const LAST_RETRY_MS = 500;

/** Failures that another attempt cannot mend. */
const permanent = new Set<string>([
  'RDMA_ERR_UNAUTHENTICATED',
  'RDMA_ERR_VERSION',
  'RDMA_ERR_REFUSED',
  'RDMA_ERR_INVALID_ARGUMENT',
  'RDMA_ERR_MESSAGE_TOO_LARGE',
]);

/** Errnos of connecting the queue pair that mean that this process may not reach that one, or never can. */
const unreachable = new Set<string>(['EACCES', 'EPERM', 'ENOSYS', 'EPROTONOSUPPORT']);

const isPermanent = ({ code, syscall }: RdmaError) =>
  permanent.has(code) || (syscall === 'ibv_modify_qp' && unreachable.has(code));

/** What an inbox may lack for a while. */
const scarce = new Set<string>(['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN', 'ENOBUFS']);

export interface ReconnectorOptions {
  clock: Clock;
  /** How long to try, in ms; 0: once. */
  reconnectMs: number;
  signal: AbortSignal;
  /** One attempt. */
  connect: () => Promise<void>;
  /**
   * Whether the last attempt failed by an answer from a peer that has not proved that it knows the secret: the answer
   * need not be true.
   */
  isHearsay: () => boolean;
  /** Whether there is a connection, or nobody wants one any more. */
  settled: () => boolean;
  /** The attempts have ended without a connection. */
  fail: (error: RdmaError) => void;
}

export class Reconnector {
  private readonly options: ReconnectorOptions;
  private connecting: Promise<void> | undefined;
  private fruitless = 0; // connections in a row that ended without progress

  constructor(options: ReconnectorOptions) {
    this.options = options;
  }

  /** The present round of attempts, if there is one. */
  get current(): Promise<void> | undefined {
    return this.connecting;
  }

  /** The connection is good for something. */
  progress(): void {
    this.fruitless = 0;
  }

  /** Begins a round of attempts, or answers the one that is under way. */
  start(): Promise<void> {
    const { clock, reconnectMs, settled } = this.options;
    this.connecting ??= this.connectUntil(clock.now() + reconnectMs).finally(() => {
      this.connecting = undefined;
      // Lost again before anybody noticed that it was there.
      if (!settled()) void this.start().catch(() => {});
    });
    return this.connecting;
  }

  private async connectUntil(deadline: number): Promise<void> {
    const { clock, signal, connect, isHearsay, fail } = this.options;
    let pauseMs = FIRST_RETRY_MS;
    if (this.fruitless++ > 0) await pause(Math.min(LAST_RETRY_MS, pauseMs * 2 ** this.fruitless), signal, clock);
    for (;;) {
      try {
        await connect();
        return;
      } catch (cause) {
        const error =
          cause instanceof RdmaError ? cause : new RdmaError('RDMA_ERR_PEER_GONE', String(cause), { cause });
        const isFinal = isPermanent(error) && !isHearsay();
        if (isFinal || clock.now() + pauseMs > deadline || signal.aborted) {
          fail(error);
          throw error;
        }
      }
      await pause(pauseMs, signal, clock);
      pauseMs = Math.min(LAST_RETRY_MS, pauseMs * 2);
    }
  }
}

/** What an inbox said when it refused, as an error. */
export function refusal(code: string, message: string): RdmaError {
  const unknown = scarce.has(code) ? 'RDMA_ERR_BUSY' : 'RDMA_ERR_REFUSED';
  return new RdmaError(isErrorCode(code) ? code : unknown, `the inbox refuses: ${message}`);
}
