// The handshakes in progress. When there are too many, it picks the one to drop.
//
// Invariant: at most `capacity` are in at once. A newcomer always gets in: the source that has most gives one up, and
// of these the one that has got no further for longest. So who floods displaces its own connections, and a client that
// answers at once is the last of its source to go.

/** What a pool needs of a handshake. */
export interface PendingMember {
  /** Its turn has come to give way. */
  giveWay(): void;
}

/** Of one source; first who has got no further for longest. */
type Source<T> = Set<T>;

export class PendingPool<T extends PendingMember> {
  private readonly capacity: number;
  private readonly sources = new Map<string, Source<T>>();
  private readonly sourceOf = new Map<T, string>();

  /** @param capacity handshakes at once, 1 or more */
  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** How many are in. */
  get size(): number {
    return this.sourceOf.size;
  }

  /** Takes one in; another one may have to give way. @param name of its source, see sourceOf() */
  add(member: T, name: string): void {
    const source = this.sources.get(name) ?? new Set<T>();
    this.sources.set(name, source);
    if (this.size >= this.capacity) this.displace(name, source);
    // The one that gave way may have been the last of its source.
    this.sources.set(name, source);
    source.add(member);
    this.sourceOf.set(member, name);
  }

  /** It has got further. */
  progress(member: T): void {
    const source = this.sources.get(this.sourceOf.get(member) ?? '');
    if (source?.delete(member)) source.add(member);
  }

  /** It is in no more. A second time does nothing. */
  remove(member: T): void {
    const name = this.sourceOf.get(member);
    if (name === undefined) return;
    this.sourceOf.delete(member);
    const source = this.sources.get(name);
    if (source === undefined) return;
    source.delete(member);
    if (source.size === 0) this.sources.delete(name);
  }

  /** All that are in. */
  members(): T[] {
    return [...this.sourceOf.keys()];
  }

  // The source of the newcomer counts it already, and loses a tie.
  private displace(name: string, newcomers: Source<T>): void {
    let largest = newcomers;
    let most = newcomers.size + 1;
    for (const [other, source] of this.sources) {
      if (other === name || source.size <= most) continue;
      largest = source;
      most = source.size;
    }
    // Where each source has but one, the one goes that came first.
    const [member = this.members()[0]] = largest;
    if (member === undefined) return;
    this.remove(member);
    member.giveWay();
  }
}

/**
 * Who counts as one source: an IPv4 address, or a network of IPv6: its first 64 bits, as a host chooses the rest itself
 * (RFC 4291, 2.5.4).
 *
 * @param address as the socket says it
 */
export function sourceOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address;
  // All of it is this host.
  if (mapped.startsWith('127.')) return '127.0.0.1';
  if (!mapped.includes(':')) return mapped;
  const [before = '', after] = (mapped.split('%')[0] ?? '').split('::');
  const head = before === '' ? [] : before.split(':');
  const tail = after === undefined || after === '' ? [] : after.split(':');
  const zeros = after === undefined ? 0 : Math.max(0, 8 - head.length - tail.length);
  const words = [...head, ...new Array<string>(zeros).fill('0'), ...tail].slice(0, 4);
  return `${words.map((word) => Number.parseInt(word, 16).toString(16)).join(':')}::/64`;
}
