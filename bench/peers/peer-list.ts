// Peers of one benchmark, by the names of --compare.
//
// Invariant: a peer is named once, whether by itself or by its groups; naming one starts nothing.
import type { NamedPeers } from '../../src/ts/bench/peers.js';
import { RdmaError } from '../../src/ts/core/errors.js';

/**
 * A list that answers to names.
 *
 * @param groups names that mean several peers, besides `all`, which means every peer
 */
export function peerList<Peer extends { readonly name: string }>(
  peers: readonly Peer[],
  groups: Readonly<Record<string, readonly string[]>> = {},
): NamedPeers<Peer> {
  const all = peers.map(({ name }) => name);
  const groupsAndAll: Readonly<Record<string, readonly string[]>> = { all, ...groups };
  const names = [...all, ...Object.keys(groupsAndAll)];
  return {
    names,
    named: (wanted) => {
      const unknown = wanted.find((name) => !names.includes(name));
      if (unknown !== undefined) {
        throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `no peer is called ${unknown}: ${names.join(', ')}`);
      }
      const single = new Set(wanted.flatMap((name) => groupsAndAll[name] ?? [name]));
      return peers.filter(({ name }) => single.has(name));
    },
  };
}
