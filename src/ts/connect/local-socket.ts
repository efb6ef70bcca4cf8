// The Unix socket beside a TCP port: a way in for processes of the same user and host that no other user can crowd.
//
// Invariant: nothing depends on it. The kernel says whose process is at the other end (unix(7), SO_PEERCRED), and each
// side asks before it says or reads anything; where the socket is missing, taken by somebody else, or not the same
// user's, both use TCP. It proves no secret: the handshake is the same on both ways.
import net from 'node:net';
// Not through the index: who only connects does not load all of verbs.
import { peerUser } from '../verbs/process.js';
import { SOCKET_OPTIONS } from './settings.js';
import type { SocketAddress } from './socket-error.js';

/** Processes that may wait at once for being accepted; more find the socket busy, and use TCP. */
const BACKLOG = 512;

/**
 * The name of the socket beside a TCP port, in the abstract namespace (unix(7)): no file, gone with its process, and as
 * much of one network namespace as the port is.
 *
 * @param address of a listener as the system says it, or as a client got it
 * @returns undefined for a host name, which may mean several addresses
 */
export function localName({ host, port }: SocketAddress): string | undefined {
  // A server on all addresses listens on this one too, and clients connect to this name.
  const address = host === '0.0.0.0' || host === '::' || host === 'localhost' ? '127.0.0.1' : host;
  return net.isIP(address) === 0 ? undefined : `\0onepiece-rdma/${address}:${port}`;
}

/**
 * Listens beside a TCP port.
 *
 * @param address of the TCP listener
 * @param onConnection called with each connection of this user's processes
 * @param onStranger called with each one of another user's; its socket is destroyed after that
 * @returns the listener; undefined where there is none, as the name is taken or this Node.js has no abstract names
 */
export function listenLocally(
  address: SocketAddress,
  onConnection: (socket: net.Socket) => void,
  onStranger: (socket: net.Socket) => void,
): Promise<net.Server | undefined> {
  const path = localName(address);
  if (path === undefined) return Promise.resolve(undefined);
  const server = net.createServer(SOCKET_OPTIONS, (socket) => {
    if (isSameUser(socket)) {
      onConnection(socket);
      return;
    }
    socket.on('error', () => undefined);
    onStranger(socket);
    socket.destroy();
  });
  return new Promise((resolve) => {
    server.once('error', () => resolve(undefined));
    try {
      server.listen({ path, exclusive: true, backlog: BACKLOG }, () => {
        // From now on only what concerns one connection is reported here.
        server.on('error', () => undefined);
        resolve(server);
      });
    } catch {
      resolve(undefined);
    }
  });
}

/** Whether the other end of a Unix socket belongs to a process of this one's user. */
export function isSameUser(socket: net.Socket): boolean {
  // The descriptor has no public name; without it nobody is known.
  const { fd } = (socket as unknown as { _handle?: { fd?: number } | null })._handle ?? {};
  if (typeof fd !== 'number' || fd < 0) return false;
  try {
    return peerUser(fd) === process.geteuid?.();
  } catch {
    return false;
  }
}
