// Choosing an address (GID) for the caller.
//
// Invariant: the choice is a pure function of the table, and says why in words, so that people can disagree.
import { isIPv6 } from 'node:net';

/** One entry of a port's GID table. */
export interface GidEntry {
  index: number;
  /** 32 hexadecimal digits in network order. */
  gid: string;
  /** "RoCE v2", "RoCE v1", "IB" or "soft". */
  type: string;
  /** The network interface, or "". */
  netdev: string;
}

/** The GID to use and the reason. */
export interface GidChoice extends GidEntry {
  why: string;
}

const MAPPED_IPV4 = '00000000000000000000ffff';

function rank(entry: GidEntry): { score: number; why: string } {
  const linkLocal = entry.gid.startsWith('fe80');
  const ipv4 = entry.gid.startsWith(MAPPED_IPV4);
  switch (entry.type) {
    case 'soft':
      return { score: 0, why: 'the address of this process on the software device' };
    case 'RoCE v2':
      if (ipv4) return { score: 1, why: `RoCE v2 over IPv4 ${formatGid(entry.gid)}` };
      if (!linkLocal) return { score: 2, why: `RoCE v2 over global IPv6 ${formatGid(entry.gid)}` };
      return { score: 3, why: 'RoCE v2 over a link-local address: there is no routable one' };
    case 'IB':
      return { score: linkLocal ? 5 : 4, why: 'the port address on an InfiniBand fabric' };
    default:
      return { score: 6, why: `${entry.type}: the table has no RoCE v2 entry` };
  }
}

/** A GID as people write it: an IPv4 address when it is one, else IPv6 notation. */
export function formatGid(gid: string): string {
  if (gid.startsWith(MAPPED_IPV4)) {
    return (gid.slice(24).match(/../g) ?? []).map((byte) => Number.parseInt(byte, 16)).join('.');
  }
  const text = (gid.match(/.{4}/g) ?? []).join(':');
  return isIPv6(text) ? new URL(`http://[${text}]`).hostname.slice(1, -1) : text;
}

/**
 * The best entry: RoCE v2 over IPv4, then over global IPv6, then link-local, then InfiniBand, then RoCE v1. Empty
 * entries are passed over; among equals the lowest index wins.
 *
 * @returns undefined when the table has no usable entry
 */
export function rankGids(table: readonly GidEntry[]): GidChoice | undefined {
  let best: (GidChoice & { score: number }) | undefined;
  for (const entry of table) {
    if (/^0*$/.test(entry.gid) || /^fe800{28}$/.test(entry.gid)) continue;
    const { score, why } = rank(entry);
    if (best === undefined || score < best.score) best = { ...entry, score, why };
  }
  if (best === undefined) return undefined;
  const { index, gid, type, netdev, why } = best;
  return { index, gid, type, netdev, why };
}
