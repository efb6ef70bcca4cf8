// All peers, as the command of a checkout finds them: see src/ts/bench/peers.ts.
//
// Invariant: importing this loads no package and starts no program of others.
import type { Peers } from '../../src/ts/bench/peers.js';
import { bullmqFlow } from './cluster/bullmq-flow.js';
import { deadlockBench, type Protocol, protocols } from './deadlock/deadlock.js';
import { devicePeerNames, devicePeersNamed } from './device/compare.js';
import { overloadPeerNames, overloadPeersNamed } from './overload/peers.js';
import { pipelinePeerNames, pipelinePeersNamed } from './pipeline/peers.js';
import { pythonPeers } from './python/hand-over.js';
import { peerNames, peersNamed } from './ring/ring-peers.js';
import { perftest } from './verbs/compare.js';

export const peers: Peers = {
  rings: { names: peerNames, named: peersNamed },
  pipelines: { names: pipelinePeerNames, named: pipelinePeersNamed },
  overload: { names: overloadPeerNames, named: overloadPeersNamed },
  devices: { names: devicePeerNames, named: devicePeersNamed },
  perftest,
  cluster: bullmqFlow,
  python: pythonPeers,
  deadlock: { protocols, play: (options) => deadlockBench({ ...options, protocol: options.protocol as Protocol }) },
};
