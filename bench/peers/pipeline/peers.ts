// Whom our pipeline is compared with, by the names of --compare.
//
// Invariant: check() says whether a peer can run here before anything is measured; every peer has every shape and
// every task, but for streams.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PipelinePeer } from '../../../src/ts/bench/pipeline/peer.js';
import { messengerOf } from '../messengers/messengers.js';
import { mpi4py, openMpi } from './mpi-peers.js';
import { MAX_SIZE_BYTES } from '../../../src/ts/bench/pipeline/settings.js';
import { measureIn } from '../../../src/ts/bench/pipeline/source.js';
import { peerList } from '../peer-list.js';
import type { MessengerRequest } from './source-main.js';

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
        measure: (plan, signal) => {
          const request: MessengerRequest = { name, folder, plan };
          return measureIn(join(__dirname, 'source-main.js'), request, plan, signal);
        },
        close: () => rm(folder, { recursive: true, force: true }),
      };
    },
  };
}

export const { names: pipelinePeerNames, named: pipelinePeersNamed } = peerList<PipelinePeer>([
  openMpi,
  mpi4py,
  messengerPeer('zeromq'),
  messengerPeer('grpc'),
]);
