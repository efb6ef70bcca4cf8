// The message systems of Node.js that rings are compared with.
//
// Invariant: naming one loads nothing of it.
import { grpc } from './grpc.js';
import type { Messenger } from './messenger.js';
import { nats } from './nats.js';
import { redis } from './redis.js';
import { tcp, unix } from './sockets.js';
import { zeromq } from './zeromq.js';

export const messengers: readonly Messenger[] = [unix, tcp, zeromq, grpc, redis, nats];

export function messengerOf(name: string): Messenger {
  return messengers.find((messenger) => messenger.name === name)!;
}
