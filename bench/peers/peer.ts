// What a peer of this library was measured at, in the same words as this library's own figures.
//
// Invariant: a latency is half of a round trip in which both sides answer each other (put, send), or the whole round
// trip (get); a figure that the peer's program cannot tell is null.
import { RdmaError } from '../../src/ts/core/errors.js';
import { checkInteger } from '../../src/ts/core/validate.js';
import type { Percentiles } from '../../src/ts/bench/kit/statistics.js';

export type PeerOperation = 'put' | 'send' | 'get';
export type PeerTransport = 'shared-memory' | 'tcp';

/** One size of a run. */
export interface PeerRun {
  /** 1 byte to 1 GiB. */
  sizeBytes: number;
  /** Samples; of a rate, batches of 64 messages. 1 to 10 million. */
  iterations: number;
  /** Rounds before them; a tenth by default. */
  warmUp?: number;
}

export interface PeerOptions {
  /** Who receives reads every byte before it answers; false by default. */
  touch?: boolean;
  signal?: AbortSignal | undefined;
}

export interface PeerLatency {
  /** With its version. */
  peer: string;
  operation: PeerOperation;
  transport: PeerTransport;
  touched: boolean;
  sizeBytes: number;
  iterations: number;
  latencyUs: Percentiles;
  /** In ascending order; null when the peer's program keeps them to itself. */
  samplesUs: Float64Array | null;
}

export interface PeerRate {
  peer: string;
  operation: PeerOperation;
  transport: PeerTransport;
  sizeBytes: number;
  /** Messages that were counted. */
  messages: number;
  messagesPerSecond: number;
}

/** Messages of a batch when a rate is measured. */
export const PEER_BATCH = 64;
export const MAX_PEER_BYTES = 2 ** 30;

/** @throws RdmaError RDMA_ERR_INVALID_ARGUMENT, naming what is wrong */
export function checkRuns(runs: readonly PeerRun[]): Required<PeerRun>[] {
  if (runs.length === 0) throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'give at least one size');
  return runs.map(({ sizeBytes, iterations, warmUp = Math.ceil(iterations / 10) }) => ({
    sizeBytes: checkInteger('sizeBytes', sizeBytes, 1, MAX_PEER_BYTES),
    iterations: checkInteger('iterations', iterations, 1, 10_000_000),
    warmUp: checkInteger('warmUp', warmUp, 0, 10_000_000),
  }));
}
