// The options of a lease.
//
// Invariant: options are checked once, when the lease is opened.
import { checkBoolean, checkFunction, checkInteger, checkObject } from '../core/validate.js';
import type { RdmaError } from '../core/errors.js';
import { tellerOf } from '../core/event-teller.js';
import type { Holding } from './holding.js';
import { MAX_LEASE_MS, MIN_LEASE_MS } from './lease-record.js';
import { type ControlPort, systemControlPort } from './port.js';
import type { Json } from './store.js';

export interface LeaseOptions {
  /**
   * For how long after a renewal nobody else takes it, in ms: 50 to 600 000; default 3000. The same for all who want
   * it.
   */
  readonly leaseMs?: number | undefined;
  /** What the record says of its holder. */
  readonly data?: Json | undefined;
  /**
   * Whether the store may forget what it has answered for, as a nats-server does that loses its power within two
   * minutes of a write. Then whoever comes new waits for the length of a lease before it takes even one that is free.
   * Default: true; false for a store in memory, or a nats-server with `sync_interval: always`.
   */
  readonly storeForgets?: boolean | undefined;
  /** Called each time it is held. */
  readonly onHeld?: ((holding: Holding) => void) | undefined;
  /** Called each time it is held no longer, and why. */
  readonly onLost?: ((reason: RdmaError) => void) | undefined;
  readonly port?: ControlPort | undefined;
}

/** @internal */
export interface LeaseSettings {
  readonly leaseMs: number;
  readonly data: Json;
  readonly storeForgets: boolean;
  readonly onHeld: (holding: Holding) => void;
  readonly onLost: (reason: RdmaError) => void;
  readonly port: ControlPort;
}

const nothing = () => {};

/** @internal @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkLeaseOptions(options: LeaseOptions): LeaseSettings {
  const { leaseMs = 3000, data = null, storeForgets = true, ...given } = checkObject<LeaseOptions>('options', options);
  const { onHeld = nothing, onLost = nothing, port = systemControlPort } = given;
  return {
    leaseMs: checkInteger('leaseMs', leaseMs, MIN_LEASE_MS, MAX_LEASE_MS),
    data,
    storeForgets: checkBoolean('storeForgets', storeForgets),
    onHeld: tellerOf('onHeld', checkFunction('onHeld', onHeld)),
    onLost: tellerOf('onLost', checkFunction('onLost', onLost)),
    port: checkObject<ControlPort>('port', port),
  };
}
