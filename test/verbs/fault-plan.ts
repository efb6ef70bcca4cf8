// What a fault round is made of, and what its processes say to each other. Invariant: everything that is chosen comes
// from the seed of the round, so the same seed chooses the same; what the processes make of it in time is theirs.

import type { QueuePairEndpoint } from '../../src/ts/verbs/index.js';

/** Numbers from a seed (mulberry32): each call answers the next one, 0 to 1 without 1. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A whole number from `from` to `to`, both included. */
export const between = (random: () => number, from: number, to: number) =>
  from + Math.floor(random() * (to - from + 1));

/** The processes of a round. */
export const WORKERS = 3;

export type Fault = 'kill' | 'stop and continue' | 'stop and kill';

export interface Plan {
  seed: number;
  victim: number;
  fault: Fault;
  /** From when the traffic runs to the fault. */
  delayMs: number;
  /** Queue pairs between each two processes whose memory comes and goes, beside the one whose memory stays. */
  wildLinks: number;
  /** Of the largest regions. */
  largeBytes: number;
  /** Whether a region that cannot be revoked yet is closed at once, its pages abandoned. */
  abandons: boolean;
}

export function planRound(seed: number): Plan {
  const random = randomFrom(seed);
  const draw = random();
  return {
    seed,
    victim: between(random, 0, WORKERS - 1),
    fault: draw < 0.4 ? 'kill' : draw < 0.8 ? 'stop and continue' : 'stop and kill',
    delayMs: random() < 0.3 ? between(random, 0, 3) : between(random, 0, 60),
    wildLinks: between(random, 0, 2),
    largeBytes: 1 << between(random, 16, 24),
    abandons: random() < 0.5,
  };
}

export interface RemoteRegion {
  address: number;
  rkey: number;
  bytes: number;
}

/** One end of a connection, for the other end. */
export interface Socket {
  endpoint: QueuePairEndpoint;
  regions: RemoteRegion[];
}

/** From the driver; each is answered once. */
export type Order =
  | { do: 'setup'; plan: Plan; self: number }
  | { do: 'connect'; sockets: Socket[][] }
  | { do: 'run' }
  | { do: 'hear of death'; peer: number; killedAtMs: number }
  | { do: 'revoke'; peer: number }
  | { do: 'settle'; peer: number }
  | { do: 'drain'; gone: number }
  | { do: 'count' }
  | { do: 'close' };

export interface Revoked {
  /** Regions revoked at once, and those in which the peer stood. */
  revoked: number;
  busy: number;
}

export interface Counts {
  /** By peer: atomic additions that succeeded, and SENDs. */
  added: number[];
  sent: number[];
  /** By peer: what it has added here, and receives that completed. */
  found: number[];
  received: number[];
  operations: number;
}

export interface Usage {
  descriptors: number;
  mappings: number;
  canaryBytes: number;
}

/** Milliseconds on a clock that all processes of the machine share. */
export const clockMs = () => Number(process.hrtime.bigint()) / 1e6;
