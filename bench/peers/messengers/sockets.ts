// Node's own sockets as peers: Unix and TCP, with a length before each message.
//
// Invariant: messages are taken as the pieces in which they arrive, without a copy; small ones that follow each other
// leave together.
import { once } from 'node:events';
import { createServer, type ListenOptions, type NetConnectOpts, type Server, type Socket, connect } from 'node:net';
import { join } from 'node:path';
import type { Dialer, Hub, Messenger, MessengerContext, OnMessage } from './messenger.js';

const HEADER_BYTES = 4;
/** Messages up to this size are put together in one piece of memory before they leave. */
const SMALL_BYTES = 1024;
const SLAB_BYTES = 64 * 1024;

/** Cuts a stream into messages. @internal */
export class Splitter {
  private readonly onMessage: OnMessage;
  private readonly header = Buffer.alloc(HEADER_BYTES);
  private headed = 0; // bytes of the header that are there
  private left = 0; // bytes of the message that are not there yet
  private pieces: Uint8Array[] = [];

  constructor(onMessage: OnMessage) {
    this.onMessage = onMessage;
  }

  take(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.headed < HEADER_BYTES) {
        const count = Math.min(HEADER_BYTES - this.headed, chunk.length - at);
        chunk.copy(this.header, this.headed, at, at + count);
        this.headed += count;
        at += count;
        if (this.headed === HEADER_BYTES) this.left = this.header.readUInt32LE();
        continue;
      }
      const count = Math.min(this.left, chunk.length - at);
      this.pieces.push(chunk.subarray(at, at + count));
      at += count;
      this.left -= count;
      if (this.left > 0) continue;
      const message = this.pieces;
      this.pieces = [];
      this.headed = 0;
      this.onMessage(message);
    }
  }
}

class Sender {
  private readonly socket: Socket;
  private readonly header = Buffer.alloc(HEADER_BYTES);
  private slab = Buffer.allocUnsafe(SLAB_BYTES);
  private filled = 0;

  constructor(socket: Socket) {
    this.socket = socket;
  }

  send(message: Uint8Array, more: boolean): Promise<unknown> | undefined {
    const { socket } = this;
    const { length } = message;
    let written: boolean;
    if (length <= SMALL_BYTES && !more && this.filled === 0) {
      const alone = Buffer.allocUnsafe(HEADER_BYTES + length);
      alone.writeUInt32LE(length);
      alone.set(message, HEADER_BYTES);
      written = socket.write(alone);
    } else if (length <= SMALL_BYTES) {
      this.slab.writeUInt32LE(length, this.filled);
      this.slab.set(message, this.filled + HEADER_BYTES);
      this.filled += HEADER_BYTES + length;
      if (more && this.filled + HEADER_BYTES + SMALL_BYTES <= SLAB_BYTES) return undefined;
      written = socket.write(this.slab.subarray(0, this.filled));
      this.slab = Buffer.allocUnsafe(SLAB_BYTES); // the old one may still be under way
      this.filled = 0;
    } else {
      this.header.writeUInt32LE(length);
      socket.cork();
      socket.write(this.header);
      written = socket.write(message);
      socket.uncork();
    }
    return written ? undefined : once(socket, 'drain');
  }
}

function sockets(
  name: string,
  medium: string,
  place: (context: MessengerContext) => ListenOptions,
  target: (context: MessengerContext, server: Server) => string,
): Messenger {
  return {
    name,
    medium,
    maxBytes: 2 ** 30,
    hasBackPressure: true,
    version: () => `Node.js ${process.versions.node} ${medium}`,
    async listen(context, onMessage): Promise<Hub> {
      const senders = new Map<number, Sender>();
      // A dialer may start before its greeting has arrived here: messages to it wait for the greeting.
      const awaited = new Map<number, ((sender: Sender) => void)[]>();
      const all = new Set<Socket>();
      const server = createServer({ noDelay: true }, (socket) => {
        all.add(socket);
        let greeted = false;
        const splitter = new Splitter((message) => {
          if (greeted) return onMessage(message);
          greeted = true;
          const index = Buffer.concat(message).readUInt32LE();
          const sender = new Sender(socket);
          senders.set(index, sender);
          for (const resolve of awaited.get(index) ?? []) resolve(sender);
        });
        socket.on('data', (chunk: Buffer) => splitter.take(chunk));
        socket.on('error', () => socket.destroy());
      });
      server.listen(place(context));
      await once(server, 'listening');
      context.service = target(context, server);
      return {
        send: (to, message) => {
          const sender = senders.get(to);
          if (sender !== undefined) return sender.send(message, false);
          const greeted = new Promise<Sender>((resolve) => {
            awaited.set(to, [...(awaited.get(to) ?? []), resolve]);
          });
          return greeted.then((greeter) => greeter.send(message, false));
        },
        close: async () => {
          for (const socket of all) socket.destroy();
          server.close();
          await once(server, 'close');
        },
      };
    },
    async dial(context, index, onMessage): Promise<Dialer> {
      const { service } = context;
      const options: NetConnectOpts = service.startsWith('/')
        ? { path: service }
        : { host: '127.0.0.1', port: Number(service), noDelay: true };
      const socket = connect(options);
      await once(socket, 'connect');
      const splitter = new Splitter(onMessage);
      socket.on('data', (chunk: Buffer) => splitter.take(chunk));
      socket.on('error', () => socket.destroy());
      const sender = new Sender(socket);
      const hello = Buffer.alloc(4);
      hello.writeUInt32LE(index);
      void sender.send(hello, false);
      return {
        send: (message, more) => sender.send(message, more),
        close: async () => void socket.destroy(),
      };
    },
  };
}

const socketPath = ({ folder }: MessengerContext) => join(folder, 'socket');

export const unix = sockets('unix', 'Unix socket', (context) => ({ path: socketPath(context) }), socketPath);
export const tcp = sockets(
  'tcp',
  'TCP on the loopback',
  () => ({ host: '127.0.0.1', port: 0 }),
  (_context, server) => String((server.address() as { port: number }).port),
);
