// The NATS client library, which only the store on JetStream needs. Only this file imports it.
//
// Invariant: nothing is loaded until such a store is opened.
import type * as JetStream from '@nats-io/jetstream';
import type * as Kv from '@nats-io/kv';
import type * as Transport from '@nats-io/transport-node';
import { RdmaError } from '../core/errors.js';

export type NatsConnection = Awaited<ReturnType<typeof Transport.connect>>;
export type NatsMessage = Transport.Msg;
export type NatsSubscription = Transport.Subscription;
export type NatsBucket = Kv.KV;
export type NatsClient = ReturnType<typeof JetStream.jetstream>;
export type NatsManager = Awaited<ReturnType<typeof JetStream.jetstreamManager>>;

/** @internal The three packages. */
export interface Nats {
  readonly transport: typeof Transport;
  readonly jetstream: typeof JetStream;
  readonly kv: typeof Kv;
}

/** @internal @throws RdmaError RDMA_ERR_NOT_SUPPORTED with the install command when one is missing */
export function loadNats(): Nats {
  try {
    return {
      transport: require('@nats-io/transport-node') as typeof Transport,
      jetstream: require('@nats-io/jetstream') as typeof JetStream,
      kv: require('@nats-io/kv') as typeof Kv,
    };
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', 'a control store on NATS needs the client of NATS', {
      remedy: 'npm install @nats-io/transport-node @nats-io/jetstream @nats-io/kv',
      cause,
    });
  }
}
