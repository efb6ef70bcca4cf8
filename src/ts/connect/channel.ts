// Invariant: a channel delivers only authentic documents of its peer, in order, and ends exactly once: `onClose` is
// called once, when the socket is gone, whatever killed it and whenever the handler was set.

import type { Socket } from 'node:net';
import { types } from 'node:util';
import { MAX_TIMEOUT_MS } from '../core/deadline.js';
import { isRdmaError, RdmaError } from '../core/errors.js';
import { checkAbortSignal, checkFunction, checkInteger, checkObject } from '../core/validate.js';
import { decodeDocument, encodeDocument } from './document.js';
import { type Frame, FrameType } from './frame.js';
import type { FrameParser } from './frame-parser.js';
import { InboundQueue } from './inbound-queue.js';
import type { Session } from './session.js';
import { peerGone, type SocketAddress } from './socket-error.js';

/** Most bytes queued to a peer that does not read them. */
export const MAX_QUEUED_BYTES = 1024 * 1024;
/** How long an orderly end may take before the socket is destroyed. */
export const LINGER_MS = 1000;

const DEFAULT_RECEIVE_TIMEOUT_MS = 5000;

/** The options of `receive`. */
export interface ReceiveOptions {
  /** How long to wait, from 1 to 2^31 - 1 ms; 5000 unless given. */
  timeoutMs?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** What a handshake hands over to a new channel. */
export interface ChannelParts {
  readonly socket: Socket;
  readonly parser: FrameParser;
  readonly session: Session;
  readonly remoteAddress: SocketAddress;
}

/**
 * An authenticated connection to one peer, over which both sides send JSON documents, and whose end shows that the
 * peer is gone. `connectBootstrap` and `BootstrapServer` make channels.
 *
 * TCP tells at once when a peer's process dies. When its host dies, only keep-alive probes tell: the first is sent
 * after 10 s, the verdict comes when the system's number of probes has failed, by default 11 minutes later (tcp(7),
 * tcp_keepalive_intvl and tcp_keepalive_probes). An application that must know earlier sends documents of its own.
 */
export class BootstrapChannel {
  /** What the peer calls itself; it is authentic, but any holder of the secret may choose any name. */
  readonly peerName: string;
  /** Its port is 0 at a server that was reached by the local socket. */
  readonly remoteAddress: SocketAddress;
  /** The version of the conversation that both sides agreed on. */
  readonly version: number;
  readonly #socket: Socket;
  readonly #parser: FrameParser;
  readonly #session: Session;
  readonly #inbound = new InboundQueue();
  #onMessage: ((document: unknown) => void) | undefined;
  #onClose: ((error?: RdmaError) => void) | undefined;
  #flushing = false;
  #closed = false;
  #gone = false;
  #reported = false;
  #error: RdmaError | undefined;
  #linger: NodeJS.Timeout | undefined;

  /** @internal Handshakes make channels; the socket must be connected and have no other `data` listener. */
  constructor({ socket, parser, session, remoteAddress }: ChannelParts) {
    this.peerName = session.peerName;
    this.version = session.version;
    this.remoteAddress = remoteAddress;
    this.#socket = socket;
    this.#parser = parser;
    this.#session = session;
    parser.trustPeer();
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('end', () => this.fail(peerGone()));
    socket.on('error', (error: Error) => this.fail(peerGone(error)));
    socket.on('close', () => this.#onGone());
  }

  /** True as soon as nothing can be sent any more: after `close`, `destroy`, the peer's goodbye or a failure. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Why the channel ended; undefined while it is open and after an orderly end. */
  get error(): RdmaError | undefined {
    return this.#error;
  }

  /** Bytes queued to the peer that the system has not taken yet; at 1 MiB the channel gives the peer up. */
  get queuedBytes(): number {
    return this.#socket.writableLength;
  }

  /**
   * Called with each document from the peer, in order. Documents that came before it is set, up to 1 MiB or 4096 of
   * them, are held and then delivered, also when the peer is gone by then. What the handler throws, or rejects with,
   * closes the channel with an RDMA_ERR_HANDLER error. Set it to undefined to hold documents again.
   */
  get onMessage(): ((document: unknown) => void) | undefined {
    return this.#onMessage;
  }

  set onMessage(handler: ((document: unknown) => void) | undefined) {
    if (handler !== undefined) checkFunction('onMessage', handler);
    this.#onMessage = handler;
    queueMicrotask(() => this.#flush());
  }

  /**
   * Called exactly once, soon after the channel has ended and its socket is gone: without an error after an orderly end
   * by either side, else with RDMA_ERR_PEER_GONE, RDMA_ERR_PROTOCOL, RDMA_ERR_HANDLER, RDMA_ERR_QUEUE_FULL or what
   * `destroy` was given. When the channel has ended before this is set, the handler is called soon after.
   */
  get onClose(): ((error?: RdmaError) => void) | undefined {
    return this.#onClose;
  }

  set onClose(handler: ((error?: RdmaError) => void) | undefined) {
    if (handler !== undefined) checkFunction('onClose', handler);
    this.#onClose = handler;
    if (this.#gone) queueMicrotask(() => this.#report());
  }

  /**
   * Queues a document for the peer. That it was queued says nothing of whether it arrives.
   *
   * @param document an object or array that JSON can carry, at most 64 KiB of it
   * @throws RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_MESSAGE_TOO_LARGE; RDMA_ERR_CLOSED; RDMA_ERR_PEER_GONE when the peer
   * has left 1 MiB unread, which also ends the channel
   */
  send(document: object): void {
    const body = encodeDocument(document);
    if (this.#closed) throw this.#closedError();
    // Checked before sealing: a frame that was sealed and not sent would leave a hole in the sequence.
    if (this.#socket.writableLength + body.byteLength > MAX_QUEUED_BYTES) {
      const unread = this.#socket.writableLength;
      const error = new RdmaError('RDMA_ERR_PEER_GONE', `the peer does not read: ${unread} bytes are queued to it`);
      this.destroy(error);
      throw error;
    }
    this.#socket.write(this.#session.seal(FrameType.MESSAGE, body));
  }

  /**
   * Takes the next document without a handler, for question and answer while a connection is set up. Documents held
   * when the peer ends the channel can still be received.
   *
   * @returns the document; rejects with RDMA_ERR_TIMEOUT, RDMA_ERR_ABORTED, RDMA_ERR_CLOSED, the error that ended the
   * channel, or RDMA_ERR_BUSY when `onMessage` is set and takes the documents
   */
  async receive(options: ReceiveOptions = {}): Promise<unknown> {
    checkObject('options', options);
    const { timeoutMs = DEFAULT_RECEIVE_TIMEOUT_MS } = options;
    checkInteger('timeoutMs', timeoutMs, 1, MAX_TIMEOUT_MS);
    const signal = checkAbortSignal('signal', options.signal);
    if (this.#onMessage !== undefined) {
      throw new RdmaError('RDMA_ERR_BUSY', 'onMessage is set and takes every document');
    }
    return this.#inbound.take(timeoutMs, signal);
  }

  /**
   * Ends the channel in order: sends what is queued, says goodbye, and waits at most 1 s for the peer to end too.
   * Nothing more is delivered here, and documents held are dropped.
   */
  close(): void {
    if (this.#closed) return;
    this.#markClosed(undefined, false);
    this.#socket.end(this.#session.seal(FrameType.BYE, new Uint8Array(0)));
    this.#startLinger();
  }

  /**
   * Ends the channel at once; the peer sees it as gone.
   *
   * @param error what `onClose` is to be called with; ignored when the channel has ended already
   */
  destroy(error?: RdmaError): void {
    if (!this.#closed) this.#markClosed(error, false);
    this.#socket.destroy();
  }

  /** @internal Ends the channel because of a failure; one that comes during an orderly end is no news. */
  fail(error: RdmaError): void {
    if (this.#closed) return;
    this.#markClosed(error, true);
    this.#socket.destroy();
  }

  /** Lets the channel keep the process running, as it does unless told otherwise. Returns the channel. */
  ref(): this {
    this.#socket.ref();
    return this;
  }

  /** Lets the process exit while the channel is open. Returns the channel. */
  unref(): this {
    this.#socket.unref();
    return this;
  }

  /** As `close`, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** @internal Takes a frame that arrived in one piece with the last frame of the handshake. */
  acceptFrame(frame: Frame): void {
    // After a goodbye from either side, what still comes in is drained and dropped.
    if (this.#closed) return;
    const body = this.#session.open(frame);
    if (frame.type === FrameType.BYE && body.byteLength === 0) {
      this.#markClosed(undefined, true);
      this.#socket.end();
      this.#startLinger();
      return;
    }
    if (frame.type !== FrameType.MESSAGE) {
      throw new RdmaError('RDMA_ERR_PROTOCOL', `the peer sent a frame of type ${frame.type} in mid-session`);
    }
    this.#inbound.put(decodeDocument(body), body.byteLength);
    this.#flush();
  }

  #onData(chunk: Buffer): void {
    if (this.#closed) return;
    try {
      this.#parser.push(chunk, (frame) => this.acceptFrame(frame));
    } catch (error) {
      this.fail(isRdmaError(error) ? error : new RdmaError('RDMA_ERR_PROTOCOL', 'a frame failed', { cause: error }));
    }
  }

  #flush(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    try {
      while (this.#onMessage !== undefined) {
        const held = this.#inbound.shift();
        if (held === undefined) break;
        this.#deliver(this.#onMessage, held.document);
      }
    } finally {
      this.#flushing = false;
    }
  }

  /** Types cannot forbid an async handler, so its rejection is taken as what it would have thrown. */
  #deliver(handler: (document: unknown) => unknown, document: unknown): void {
    const fail = (cause: unknown): void => {
      const error = new RdmaError('RDMA_ERR_HANDLER', 'the onMessage handler threw', { cause });
      if (this.#closed) this.#error ??= error;
      this.destroy(error);
    };
    try {
      const result = handler(document);
      if (types.isPromise(result)) result.catch(fail);
    } catch (cause) {
      fail(cause);
    }
  }

  #markClosed(error: RdmaError | undefined, keepHeld: boolean): void {
    this.#closed = true;
    this.#error = error;
    this.#inbound.end(error ?? this.#closedError(), keepHeld);
  }

  #closedError(): RdmaError {
    return new RdmaError('RDMA_ERR_CLOSED', 'the channel is closed', this.#error ? { cause: this.#error } : {});
  }

  #startLinger(): void {
    this.#linger = setTimeout(() => this.#socket.destroy(), LINGER_MS);
    this.#linger.unref();
  }

  #onGone(): void {
    clearTimeout(this.#linger);
    if (!this.#closed) this.#markClosed(peerGone(), true);
    this.#gone = true;
    // The user's handler runs by itself, so that what it throws cannot keep other listeners of the socket from running.
    queueMicrotask(() => this.#report());
  }

  /** Documents that came before the end are delivered before the end is. */
  #report(): void {
    if (this.#reported || this.#onClose === undefined) return;
    this.#flush();
    if (this.#reported) return;
    this.#reported = true;
    if (this.#error === undefined) this.#onClose();
    else this.#onClose(this.#error);
  }
}
