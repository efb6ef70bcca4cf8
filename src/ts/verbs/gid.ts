// Choosing an address (GID) for the caller.
//
// Invariant: the choice is a pure function of the table, and says why in words, so that people can disagree.
import { isIPv4, isIPv6 } from 'node:net';

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
/** fe80::/10 (RFC 4291) and 169.254.0.0/16 (RFC 3927). */
const LINK_LOCAL = /^(fe[89ab]|0{20}ffffa9fe)/;

function rank(entry: GidEntry): { score: number; why: string } {
  const ipv4 = entry.gid.startsWith(MAPPED_IPV4);
  const linkLocal = LINK_LOCAL.test(entry.gid);
  switch (entry.type) {
    case 'soft':
      return { score: 0, why: 'the address of this process on the software device' };
    case 'RoCE v2':
      if (ipv4 && !linkLocal) return { score: 1, why: `RoCE v2 over IPv4 ${formatGid(entry.gid)}` };
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

/** An entry of the table with its place among the others. */
export interface RankedGid extends GidChoice {
  /**
   * Lower is better: 0 soft, 1 RoCE v2 over IPv4, 2 global IPv6, 3 link-local, 4 and 5 InfiniBand, 6 RoCE v1; 9
   * unusable.
   */
  score: number;
  /** False: `why` says what is wrong with it. */
  usable: boolean;
}

const UNUSABLE = 9;

/**
 * Every entry, best first: RoCE v2 over IPv4, then over global IPv6, then link-local, then InfiniBand, then RoCE v1;
 * among equals the lowest index. Entries that cannot be used (zero, or a bare link-local prefix) come last.
 */
export function rankGids(table: readonly GidEntry[]): RankedGid[] {
  const ranked = table.map((entry): RankedGid => {
    if (/^0*$/.test(entry.gid)) return { ...entry, score: UNUSABLE, usable: false, why: 'the entry is empty' };
    if (/^fe800{28}$/.test(entry.gid)) {
      return { ...entry, score: UNUSABLE, usable: false, why: 'a link-local prefix without an interface' };
    }
    return { ...entry, ...rank(entry), usable: true };
  });
  return ranked.sort((a, b) => a.score - b.score || a.index - b.index);
}

/**
 * A GID from text.
 *
 * @param text 32 hexadecimal digits, an IPv6 address, or an IPv4 address (which means its mapped GID)
 * @returns 32 lowercase hexadecimal digits; undefined when it is none of these
 */
export function parseGidText(text: string): string | undefined {
  if (/^[0-9a-f]{32}$/i.test(text)) return text.toLowerCase();
  if (isIPv4(text)) {
    return (
      MAPPED_IPV4 +
      text
        .split('.')
        .map((byte) => Number(byte).toString(16).padStart(2, '0'))
        .join('')
    );
  }
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const whole = new URL(`http://[${text}]`).hostname.slice(1, -1);
  const [head = '', tail] = whole.split('::');
  const groups = (part: string) => part.split(':').filter((group) => group !== '');
  const [left, right] = [groups(head), groups(tail ?? '')];
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0');
  return [...left, ...zeros, ...right].map((group) => group.padStart(4, '0')).join('');
}
