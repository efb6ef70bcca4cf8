// What a user would build otherwise, by the names of --compare.
//
// Invariant: check() says whether a peer can run here before anything is measured; each does the same work for the same
// requests at the same times, with as many tasks at a time as our stages run together.
import { RdmaError } from '../../core/errors.js';
import { bullmq } from '../peers/bullmq.js';
import { pqueue, pqueueTuned } from '../peers/p-queue.js';
import type { OverloadSubject, SubjectContext } from './subject.js';

export interface OverloadPeer {
  name: string;
  /**
   * Its name and version.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when something is not installed
   */
  check(): string;
  /** Starts its processes in the process that calls it. */
  open(context: SubjectContext): Promise<OverloadSubject>;
}

export const overloadPeers: readonly OverloadPeer[] = [pqueue, pqueueTuned, bullmq];

/** What --compare takes: a peer, or all of them that are installed. */
export const overloadPeerNames: readonly string[] = [...overloadPeers.map(({ name }) => name), 'all'];

export function overloadPeerOf(name: string): OverloadPeer {
  return overloadPeers.find((peer) => peer.name === name)!;
}

/**
 * The peers that a list of names stands for, each once.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for a name that is none
 */
export function overloadPeersNamed(names: readonly string[]): OverloadPeer[] {
  const unknown = names.find((name) => !overloadPeerNames.includes(name));
  if (unknown !== undefined) {
    const words = `no peer is called ${unknown}: ${overloadPeerNames.join(', ')}`;
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', words);
  }
  return overloadPeers.filter(({ name }) => names.includes(name) || names.includes('all'));
}
