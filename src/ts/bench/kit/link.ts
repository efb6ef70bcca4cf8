// Messages between the two sides of a benchmark: over the channel of a forked child, or over TCP.
//
// Invariant: messages are small JSON documents, taken in the order of arrival; a peer that is gone, silent for too long
// or that talks nonsense ends the run with an error.
import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import { RdmaError } from '../../core/errors.js';
import { checkObject } from '../../core/validate.js';
import type { Halt } from './loop.js';

/** A message; `do` says what it is about. */
export interface Message {
  do: string;
  [field: string]: unknown;
}

/** How long an answer may take; opening a device and registering memory lie within. */
const ANSWER_MS = 60_000;
const MAX_LINE_BYTES = 1 << 20;

export abstract class Link implements Halt {
  failure: Error | undefined;
  private readonly queue: Message[] = [];
  private readonly listeners = new Set<() => void>();

  /** Sends; resolves once the message has left this process's event loop. */
  abstract send(message: Message): Promise<void>;
  abstract close(): void;

  onFailure(callback: () => void): () => void {
    this.listeners.add(callback);
    return () => this.listeners.delete(callback);
  }

  /**
   * The next message.
   *
   * @param waitMs 0: for as long as it takes
   * @throws RdmaError what the peer answered as its error; RDMA_ERR_PEER_GONE, RDMA_ERR_TIMEOUT, RDMA_ERR_ABORTED,
   *   RDMA_ERR_PROTOCOL
   */
  async next(wanted: string, signal?: AbortSignal, waitMs = ANSWER_MS): Promise<Message> {
    const end = performance.now() + waitMs;
    while (this.queue.length === 0) {
      if (signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the measurement was stopped');
      if (this.failure !== undefined) throw this.failure;
      if (waitMs > 0 && performance.now() > end) {
        throw new RdmaError('RDMA_ERR_TIMEOUT', `the other side has not answered for ${waitMs / 1000} s`);
      }
      await this.something(signal, waitMs > 0 ? end - performance.now() + 1 : 0);
    }
    const message = this.queue.shift()!;
    if (message.do === 'error') throw RdmaError.fromJSON(message.error);
    if (message.do !== wanted && wanted !== 'anything') {
      throw new RdmaError('RDMA_ERR_PROTOCOL', `the other side said ${JSON.stringify(message.do)}, not ${wanted}`);
    }
    return message;
  }

  private something(signal: AbortSignal | undefined, waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.listeners.delete(wake);
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      const timer = waitMs > 0 ? setTimeout(wake, waitMs) : undefined;
      this.listeners.add(wake);
      signal?.addEventListener('abort', wake);
    });
  }

  protected deliver(value: unknown): void {
    try {
      const message = checkObject<Message>('message', value);
      if (typeof message.do !== 'string') throw new Error('no verb');
      this.queue.push(message);
      this.wake();
    } catch {
      this.fail(new RdmaError('RDMA_ERR_PROTOCOL', 'the other side does not speak the language of this benchmark'));
    }
  }

  protected fail(error: Error): void {
    this.failure ??= error;
    this.wake();
  }

  private wake(): void {
    for (const listener of [...this.listeners]) listener();
  }
}

const gone = () => new RdmaError('RDMA_ERR_PEER_GONE', 'the other side of the benchmark has ended');

/** The channel between a parent and its forked child, from either end. */
export class ForkLink extends Link {
  private readonly end: Pick<ChildProcess, 'send' | 'on'>;

  constructor(end: ChildProcess | NodeJS.Process) {
    super();
    this.end = end as ChildProcess;
    this.end.on('message', (message) => this.deliver(message));
    this.end.on('disconnect', () => this.fail(gone()));
    this.end.on('exit', () => this.fail(gone()));
    this.end.on('error', (error) => this.fail(error));
  }

  send(message: Message): Promise<void> {
    return new Promise((resolve, reject) => {
      this.end.send(message, undefined, undefined, (error) => (error === null ? resolve() : reject(gone())));
    });
  }

  close(): void {}
}

/** A line of JSON for each message over TCP. */
export class SocketLink extends Link {
  private readonly socket: Socket;
  private rest = '';

  constructor(socket: Socket) {
    super();
    this.socket = socket;
    socket.setNoDelay(true);
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.read(text));
    socket.on('close', () => this.fail(gone()));
    socket.on('error', (error) => this.fail(error));
  }

  private read(text: string): void {
    const lines = (this.rest + text).split('\n');
    this.rest = lines.pop() ?? '';
    if (this.rest.length > MAX_LINE_BYTES) {
      this.fail(new RdmaError('RDMA_ERR_PROTOCOL', 'the other side sends a line without an end'));
      this.socket.destroy();
      return;
    }
    for (const line of lines) {
      let value: unknown;
      try {
        value = JSON.parse(line);
      } catch {
        value = undefined;
      }
      this.deliver(value);
    }
  }

  send(message: Message): Promise<void> {
    return new Promise((resolve, reject) => {
      this.socket.write(`${JSON.stringify(message)}\n`, (error) => (error ? reject(gone()) : resolve()));
    });
  }

  close(): void {
    this.socket.destroy();
  }
}
