// gRPC (@grpc/grpc-js) over a Unix socket: one stream in both directions for each producer.
//
// Invariant: messages are bytes on the wire as they are given, without protocol buffers, which would only add to them.
import { once } from 'node:events';
import { join } from 'node:path';
import type * as Grpc from '@grpc/grpc-js';
import { RdmaError } from '../../../src/ts/core/errors.js';
import { loadPackage, packageVersion } from '../installed.js';
import type { Dialer, Hub, Messenger, MessengerContext } from './messenger.js';

const PATH = '/onepiece.Bench/Stream';
const INDEX = 'index';
const CONNECT_MS = 10_000;
const UNLIMITED = { 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 };

const load = () => loadPackage<typeof Grpc>('@grpc/grpc-js');
const target = ({ folder }: MessengerContext) => `unix:${join(folder, 'grpc')}`;
const same = (bytes: Buffer) => bytes;
const asBuffer = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

type Stream = { write(message: Buffer): boolean; once(event: string, listener: () => void): unknown };

function send(stream: Stream, message: Uint8Array): Promise<unknown> | undefined {
  return stream.write(asBuffer(message)) ? undefined : once(stream as never, 'drain');
}

export const grpc: Messenger = {
  name: 'grpc',
  medium: 'Unix socket',
  maxBytes: 256 * 2 ** 20,
  hasBackPressure: true,
  version: () => `@grpc/grpc-js ${packageVersion('@grpc/grpc-js')}`,
  async listen(context, onMessage): Promise<Hub> {
    const { Server, ServerCredentials } = load();
    const server = new Server(UNLIMITED);
    const streams = new Map<number, Grpc.ServerDuplexStream<Buffer, Buffer>>();
    const definition = {
      Stream: {
        path: PATH,
        requestStream: true,
        responseStream: true,
        requestSerialize: same,
        requestDeserialize: same,
        responseSerialize: same,
        responseDeserialize: same,
      },
    } satisfies Grpc.ServiceDefinition;
    server.addService(definition, {
      Stream: (call: Grpc.ServerDuplexStream<Buffer, Buffer>) => {
        streams.set(Number(call.metadata.get(INDEX)[0]), call);
        call.on('data', (message: Buffer) => onMessage([message]));
        call.on('error', () => {});
      },
    });
    await new Promise<void>((resolve, reject) => {
      const bound = (error: Error | null) => (error === null ? resolve() : reject(error));
      server.bindAsync(target(context), ServerCredentials.createInsecure(), bound);
    });
    return {
      send: (to, message) => send(streams.get(to)!, message),
      close: async () => server.forceShutdown(),
    };
  },
  async dial(context, index, onMessage): Promise<Dialer> {
    const { Client, credentials, Metadata } = load();
    const client = new Client(target(context), credentials.createInsecure(), UNLIMITED);
    await new Promise<void>((resolve, reject) => {
      client.waitForReady(Date.now() + CONNECT_MS, (error) => (error === undefined ? resolve() : reject(error)));
    });
    const metadata = new Metadata();
    metadata.set(INDEX, String(index));
    const call = client.makeBidiStreamRequest<Buffer, Buffer>(PATH, same, same, metadata);
    let closing = false;
    call.on('data', (message: Buffer) => onMessage([message]));
    call.on('error', (error) => {
      if (!closing) throw new RdmaError('RDMA_ERR_PEER_GONE', `gRPC: ${error.message}`, { cause: error });
    });
    return {
      send: (message) => send(call, message),
      close: async () => {
        closing = true;
        call.cancel();
        client.close();
      },
    };
  },
};
