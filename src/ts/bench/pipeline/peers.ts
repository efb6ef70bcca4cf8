// Whom our pipeline is compared with, by the names of --compare.
//
// Invariant: check() says whether a peer can run here before anything is measured; every peer has every shape and
// every task, but for streams.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RdmaError } from '../../core/errors.js';
import { messengerOf } from '../peers/messengers.js';
import { mpi4py, openMpi } from './mpi-peers.js';
import { MAX_SIZE_BYTES, type PipelinePlan } from './settings.js';
import { measureInSource } from './source.js';
import type { Measured } from './subject.js';

/** A peer that is ready to be measured. */
export interface OpenPipelinePeer {
  /** @throws RdmaError RDMA_ERR_ABORTED; what went wrong, with the peer's own words */
  measure(plan: PipelinePlan, signal?: AbortSignal): Promise<Measured>;
  close(): Promise<void>;
}

export interface PipelinePeer {
  name: string;
  /** What carries the bytes. */
  medium: string;
  /** The largest request that it is asked to carry. */
  maxBytes: number;
  /** It has the chain of streaming stages too. */
  streams: boolean;
  /**
   * Its name and version.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when something is not installed
   */
  check(): string;
  open(signal?: AbortSignal): Promise<OpenPipelinePeer>;
}

function messengerPeer(name: string): PipelinePeer {
  const messenger = messengerOf(name);
  return {
    name,
    medium: messenger.medium,
    maxBytes: Math.min(MAX_SIZE_BYTES, messenger.maxBytes),
    streams: false,
    check: () => messenger.version(),
    open: async () => {
      const folder = await mkdtemp(join(tmpdir(), 'onepiece-bench-'));
      return {
        measure: (plan, signal) => measureInSource({ who: 'messenger', name, folder }, plan, signal),
        close: () => rm(folder, { recursive: true, force: true }),
      };
    },
  };
}

export const pipelinePeers: readonly PipelinePeer[] = [openMpi, mpi4py, messengerPeer('zeromq'), messengerPeer('grpc')];

/** What --compare takes: a peer, or all of them that are installed. */
export const pipelinePeerNames: readonly string[] = [...pipelinePeers.map(({ name }) => name), 'all'];

/**
 * The peers that a list of names stands for, each once.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for a name that is none
 */
export function pipelinePeersNamed(names: readonly string[]): PipelinePeer[] {
  const unknown = names.find((name) => !pipelinePeerNames.includes(name));
  if (unknown !== undefined) {
    const words = `no peer is called ${unknown}: ${pipelinePeerNames.join(', ')}`;
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', words);
  }
  return pipelinePeers.filter(({ name }) => names.includes(name) || names.includes('all'));
}
