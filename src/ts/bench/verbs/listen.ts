// Waiting for a client in a process of its own, as perftest's server does.
//
// Invariant: one client is served, and then it ends; the port is closed as soon as that client has come.
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { RdmaError, systemCode } from '../../core/errors.js';
import { SocketLink } from '../kit/link.js';
import { serve } from './server.js';
import type { Place } from './side.js';

/**
 * Serves one client.
 *
 * @param port TCP port on all addresses
 * @param listening called with the port once clients can come
 * @throws RdmaError EADDRINUSE and the like; RDMA_ERR_ABORTED; what serve() throws
 */
export async function listenOnce(
  place: Place,
  port: number,
  listening: (port: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  const server = createServer({ pauseOnConnect: true });
  try {
    server.listen(port);
    const options = signal === undefined ? {} : { signal };
    await once(server, 'listening', options);
    const address = server.address();
    listening(typeof address === 'object' && address !== null ? address.port : port);
    const [socket] = (await once(server, 'connection', options)) as [Socket];
    server.close();
    const link = new SocketLink(socket);
    socket.resume();
    try {
      await serve(link, place, signal);
    } finally {
      link.close();
    }
  } catch (error) {
    if (signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the server was stopped', { cause: error });
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (syscall === 'listen' && code !== undefined) {
      throw new RdmaError(systemCode(code), `cannot listen on port ${port}`, {
        syscall,
        remedy: 'choose another with --port',
      });
    }
    throw error;
  } finally {
    server.close();
  }
}
