// Everything that our own figures can be held against: clients of other people's software, their programs, and rival
// protocols. They live in bench/peers of a checkout and are no part of the package.
//
// Invariant: nothing of a peer is loaded before somebody asks for one. Where they are not, it is said with the remedy,
// and never taken for a measurement.
import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import { RdmaError } from '../core/errors.js';
import { packageRoot } from '../addon/native.js';
import type { ClusterPeer } from './cluster/peer.js';
import type { DeadlockBench } from './deadlock.js';
import type { DevicePeer } from './device/peer.js';
import type { OverloadPeer } from './overload/peer.js';
import type { PipelinePeer } from './pipeline/peer.js';
import type { PythonPeer } from './python/peer.js';
import type { RingPeer } from './ring/peer.js';
import type { VerbsPeer } from './verbs/peer.js';

/** Peers of one benchmark, by the names of --compare. */
export interface NamedPeers<Peer> {
  /** What --compare takes: peers, and groups of them such as `all`. */
  readonly names: readonly string[];
  /**
   * The peers that a list of names means, each once.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for a name that is none
   */
  named(names: readonly string[]): Peer[];
}

/** What the entry of bench/peers exports. */
export interface Peers {
  readonly rings: NamedPeers<RingPeer>;
  readonly pipelines: NamedPeers<PipelinePeer>;
  readonly overload: NamedPeers<OverloadPeer>;
  readonly devices: NamedPeers<DevicePeer>;
  readonly perftest: VerbsPeer;
  readonly cluster: ClusterPeer;
  readonly python: readonly PythonPeer[];
  readonly deadlock: DeadlockBench;
}

const SOURCE = join('bench', 'peers', 'index.ts');
/** Where the build puts what it makes of bench/: beside lib/, or beside the library that is compiled with its tests. */
const builtFolder = (): string =>
  relative(packageRoot(), __dirname).startsWith('lib') ? 'build-bench' : join('build-test', 'bench');

let found: Peers | undefined;

/** The peers of this checkout; undefined: this is no checkout, or its peers are not built. */
export function findPeers(): Peers | undefined {
  if (found !== undefined) return found;
  const entry = join(packageRoot(), builtFolder(), 'peers', 'index.js');
  if (existsSync(entry)) ({ peers: found } = require(entry) as { peers: Peers });
  return found;
}

/** Why there are no peers. @param what is asked for, such as `--compare redis` */
export function noPeers(what: string): RdmaError {
  const isCheckout = existsSync(join(packageRoot(), SOURCE));
  const words = isCheckout
    ? `${what}: bench/peers is not built`
    : `${what} needs a checkout of onepiece-rdma: the package has no clients of other software`;
  const remedy = isCheckout ? 'npm run build:ts' : 'run the same command as `npx onepiece` in a checkout, after npm ci';
  return new RdmaError('RDMA_ERR_NOT_SUPPORTED', words, { remedy });
}
