// What a user would build otherwise, by the names of --compare.
//
// Invariant: a process of its own starts a peer's processes and makes the requests; they are gone when it is.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { LoadMeasured } from '../../../src/ts/bench/overload/measured.js';
import type { OverloadPeer, PeerLoad } from '../../../src/ts/bench/overload/peer.js';
import { askSource } from '../../../src/ts/bench/overload/source.js';
import type { OverloadSubject, SubjectContext } from '../../../src/ts/bench/overload/subject.js';
import { peerList } from '../peer-list.js';
import { bullmq } from './bullmq.js';
import { pqueue, pqueueTuned } from './p-queue.js';

/** Who can be overloaded in the process that calls it. */
export interface OverloadServer {
  name: string;
  /** Its name and version. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when it is not installed */
  check(): string;
  /** Starts its processes. */
  open(context: SubjectContext): Promise<OverloadSubject>;
}

const servers: readonly OverloadServer[] = [pqueue, pqueueTuned, bullmq];

export function overloadServerOf(name: string): OverloadServer {
  return servers.find((server) => server.name === name)!;
}

/** What the process of a measurement gets as its request. */
export interface PeerLoadRequest extends PeerLoad {
  peer: string;
}

function peerOf({ name, check }: OverloadServer): OverloadPeer {
  return {
    name,
    check,
    load: async (load, signal) => {
      await mkdir(load.folder, { recursive: true });
      const request: PeerLoadRequest = { ...load, peer: name };
      return await askSource<LoadMeasured>(join(__dirname, 'source-main.js'), request, load.settings, signal);
    },
  };
}

export const overloadPeers: readonly OverloadPeer[] = servers.map(peerOf);

export const { names: overloadPeerNames, named: overloadPeersNamed } = peerList(overloadPeers);
