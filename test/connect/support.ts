// Invariant: helpers wait for what they wait for, by events or bounded polling, and never by a fixed pause.

import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type BootstrapChannel,
  BootstrapServer,
  type BootstrapServerOptions,
  connectBootstrap,
  type Rejection,
} from '../../src/ts/connect/index.js';
import type { RdmaError } from '../../src/ts/core/errors.js';
import { waiting } from '../until.js';

export const SECRET = 'correct horse battery staple';

export const until = waiting({ limitMs: 10_000, pause: () => sleep(2) });

/** Resolves with what `onClose` was called with; must be called before the channel ends or soon after. */
export function closing(channel: BootstrapChannel): Promise<RdmaError | undefined> {
  return new Promise((resolve) => {
    channel.onClose = resolve;
  });
}

/** A server that collects its peers and rejections. */
export interface TestServer {
  server: BootstrapServer;
  peers: BootstrapChannel[];
  rejections: Rejection[];
}

export async function startServer(options: Partial<BootstrapServerOptions> = {}): Promise<TestServer> {
  const peers: BootstrapChannel[] = [];
  const rejections: Rejection[] = [];
  const server = await BootstrapServer.listen({
    secret: SECRET,
    onPeer: (channel) => peers.push(channel),
    onRejected: (rejection) => rejections.push(rejection),
    ...options,
  });
  return { server, peers, rejections };
}

/** A server, a client, and the channel at either end. */
export async function connectedPair(
  options: Partial<BootstrapServerOptions> = {},
): Promise<TestServer & { near: BootstrapChannel; far: BootstrapChannel }> {
  const started = await startServer(options);
  const near = await connectBootstrap({ port: started.server.address.port, secret: SECRET, name: 'near' });
  await until('the server has a peer', () => started.peers.length === 1);
  return { ...started, near, far: started.peers[0] as BootstrapChannel };
}

/** A bare TCP server, for playing a server that is not what it seems. */
export async function rawServer(
  onConnection: (socket: net.Socket) => void,
): Promise<{ port: number; sockets: Set<net.Socket>; close(): Promise<void> }> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
    onConnection(socket);
    // A socket that is never read does not notice that its peer has gone.
    socket.resume();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as net.AddressInfo).port,
    sockets,
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}

/** A bare TCP client, for playing a client that is not what it seems; it collects what it receives. */
export async function rawClient(
  port: number,
): Promise<{ socket: net.Socket; received(): Buffer; ended: Promise<void> }> {
  const socket = net.connect({ port, host: '127.0.0.1' });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('error', () => undefined);
  const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  await new Promise<void>((resolve) => {
    socket.once('connect', resolve);
    socket.once('close', () => resolve());
  });
  return { socket, received: () => Buffer.concat(chunks), ended };
}

/** How many sockets and servers keep this process alive. */
export function liveHandles(): number {
  return process.getActiveResourcesInfo().filter((name) => /TCP|Timeout/.test(name)).length;
}
