// The bootstrap of ibv_*_pingpong over TCP, in both roles: one peer, one exchange, and the connection is gone.
//
// Invariant: every wait is bounded or can be aborted; whatever the peer does, no socket and no timer is left behind.
import net from 'node:net';
import { abortError, withDeadline } from '../../core/deadline.js';
import { RdmaError } from '../../core/errors.js';
import { encodePingPong, PINGPONG_DONE, type PingPongAddress, PingPongParser } from './bootstrap.js';
import { connectError, listenError, peerGone, type SocketAddress } from '../../connect/socket-error.js';

export interface PingPongExchangeOptions {
  /** This side's queue pairs. */
  local: readonly PingPongAddress[];
  /** How many addresses go each way: 256 for the type srq, else 1. */
  count: number;
  /** Time for the exchange once the peer is there, and for a server to be reached, 1 to 2^31 - 1. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
}

export interface PingPongServeOptions extends PingPongExchangeOptions {
  /** TCP port to listen on, on all addresses; 0 for any free one. */
  port: number;
  /** Time for a client to come; default without limit, as the C programs wait. */
  acceptTimeoutMs?: number | undefined;
  onListening?: ((port: number) => void) | undefined;
  /** Called before this side's addresses are given away: connects the queue pairs, so that they can receive. */
  connect: (remote: readonly PingPongAddress[]) => void;
}

type Settle = (error?: unknown) => void;

/**
 * Runs `work` until it settles, time is over or the signal is aborted, and then calls what it returned to clean up.
 *
 * @param timeoutMs undefined for no limit
 */
async function bounded(
  timeoutMs: number | undefined,
  signal: AbortSignal | undefined,
  late: () => string,
  work: (settle: Settle) => () => void,
): Promise<void> {
  if (signal?.aborted === true) throw abortError(signal);
  let undo: (() => void) | undefined;
  const done = new Promise<void>((resolve, reject) => {
    undo = work((error) => (error === undefined ? resolve() : reject(error)));
  });
  try {
    await withDeadline(done, { timeoutMs, signal, late: () => `${late()} within ${timeoutMs} ms` });
  } finally {
    undo?.();
  }
}

/** Feeds a parser, and reports a connection that ends before the parser has everything. */
function listen(socket: net.Socket, who: string, parser: PingPongParser, settle: Settle, onNews: () => void): void {
  socket.on('data', (chunk) => {
    try {
      parser.push(chunk);
      onNews();
    } catch (error) {
      settle(error);
    }
  });
  const hungUp = () => {
    if (parser.finished) return;
    const remedy = 'what does it say? Give both sides the same --type';
    settle(new RdmaError('RDMA_ERR_PEER_GONE', `${who} hung up during the bootstrap`, { remedy }));
  };
  socket.on('end', hungUp);
  socket.on('close', hungUp);
}

/**
 * Connects to a pingpong server and exchanges addresses. The queue pairs are to be connected afterwards.
 *
 * @returns the server's addresses, `count` of them
 * @throws RdmaError ECONNREFUSED and its like; RDMA_ERR_TIMEOUT; RDMA_ERR_PEER_GONE when the server hangs up;
 *   RDMA_ERR_PROTOCOL; RDMA_ERR_ABORTED
 */
export async function askPingPong(server: SocketAddress, options: PingPongExchangeOptions): Promise<PingPongAddress[]> {
  const parser = new PingPongParser(options.count, false);
  const own = encodePingPong(options.local, options.count);
  let connected = false;
  const late = () => `${server.host}:${server.port} ${connected ? 'did not complete the bootstrap' : 'did not answer'}`;
  await bounded(options.timeoutMs, options.signal, late, (settle) => {
    const socket = net.connect({ host: server.host, port: server.port, noDelay: true });
    socket.on('connect', () => {
      connected = true;
      socket.write(own);
    });
    socket.on('error', (error) => settle(connected ? peerGone(error) : connectError(error, server)));
    listen(socket, 'the server', parser, settle, () => {
      // Written at once and alone: the C server takes it with one read(2).
      if (parser.finished) socket.end(PINGPONG_DONE, () => settle());
    });
    return () => socket.destroy();
  });
  return parser.addresses;
}

/**
 * Waits for one pingpong client and exchanges addresses with it; nobody else is let in.
 *
 * @returns the client's addresses, `count` of them
 * @throws RdmaError EADDRINUSE, EACCES; what `connect` throws; otherwise as {@link askPingPong}
 */
export async function servePingPong(options: PingPongServeOptions): Promise<PingPongAddress[]> {
  const socket = await accept(options);
  const parser = new PingPongParser(options.count, true);
  const own = encodePingPong(options.local, options.count);
  let answered = false;
  const who = `the client ${socket.remoteAddress ?? ''}`;
  const late = () => `${who} did not complete the bootstrap`;
  socket.on('error', () => undefined);
  await bounded(options.timeoutMs, options.signal, late, (settle) => {
    socket.on('error', (error) => settle(peerGone(error)));
    listen(socket, who, parser, settle, () => {
      if (parser.complete && !answered) {
        answered = true;
        options.connect(parser.addresses);
        socket.write(own);
      }
      if (parser.finished) settle();
    });
    socket.resume();
    return () => {};
  }).finally(() => socket.destroy());
  return parser.addresses;
}

async function accept(options: PingPongServeOptions): Promise<net.Socket> {
  const { port, acceptTimeoutMs, signal, onListening } = options;
  let accepted: net.Socket | undefined;
  const late = () => `no client came to port ${port}`;
  await bounded(acceptTimeoutMs, signal, late, (settle) => {
    // The first one is the one; until its bytes are wanted they stay in the kernel.
    const server = net.createServer({ noDelay: true, pauseOnConnect: true }, (socket) => {
      if (accepted !== undefined) {
        socket.destroy();
        return;
      }
      accepted = socket;
      server.close();
      settle();
    });
    server.on('error', (error) => settle(listenError(error, { host: '*', port })));
    server.listen(port, () => onListening?.((server.address() as net.AddressInfo).port));
    return () => server.close();
  });
  return accepted!;
}
