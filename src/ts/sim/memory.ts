// Registered memory of the simulated device, and mappings of it in other processes.
//
// Invariant: bytes land only through a key that is alive, within bounds, by the rights of the region. Free keys and
// addresses are given out again at once, which is the worst that a device may do to code that uses them too late.
import { constants } from 'node:os';
import { RdmaError } from '../core/errors.js';
import type { PortMapping, PortMemory } from '../ring/port.js';
import { AccessFlags } from '../verbs/index.js';
import type { SimDevice, SimDomain } from './device.js';
import type { SimQueuePair } from './queue-pair.js';

const PAGE_BYTES = 4096;
const FIRST_ADDRESS = 2 ** 40;

/** An error as the system's calls give it. */
export function systemError(
  code: 'EBUSY' | 'EINVAL' | 'EACCES' | 'ENOTCONN' | 'ENOTSUP',
  syscall: string,
  words: string,
): RdmaError {
  return new RdmaError(code, `${code}: ${words}, ${syscall}`, { errno: -constants.errno[code], syscall });
}

/** The keys and addresses of one process. */
export class KeyTable {
  private readonly regions = new Map<number, SimRegion>();
  private readonly freeKeys: number[] = [];
  private readonly freeAddresses = new Map<number, number[]>();
  private nextKey = 0x1000;
  private nextAddress = FIRST_ADDRESS;

  find(key: number): SimRegion | undefined {
    return this.regions.get(key);
  }

  get size(): number {
    return this.regions.size;
  }

  add(region: SimRegion): number {
    const key = this.freeKeys.pop() ?? this.nextKey++;
    this.regions.set(key, region);
    return key;
  }

  remove(key: number): void {
    if (this.regions.delete(key)) this.freeKeys.push(key);
  }

  /** Addresses for `bytes`, with a page between any two regions that nobody may touch. */
  reserve(bytes: number): number {
    const size = Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES + PAGE_BYTES;
    const free = this.freeAddresses.get(size)?.pop();
    if (free !== undefined) return free;
    const address = this.nextAddress;
    this.nextAddress += size;
    return address;
  }

  free(address: number, bytes: number): void {
    const size = Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES + PAGE_BYTES;
    const list = this.freeAddresses.get(size);
    if (list === undefined) this.freeAddresses.set(size, [address]);
    else list.push(address);
  }
}

/** A memory region. */
export class SimRegion implements PortMemory {
  readonly address: number;
  readonly lkey: number;
  readonly domain: SimDomain;
  readonly access: number;
  /** All of it, as peers see it. */
  readonly bytes: Uint8Array;
  /** False after deregister(), also after one that has failed. */
  keyed = true;
  /** Peers in the middle of a copy that the device cannot call back. */
  inside = 0;
  /** Nobody may change it any more: its owner believes that everybody is outside. */
  sealed = false;
  /** Who has changed it from outside: one peer at most, by the protocol. */
  writer: SimQueuePair | undefined;
  private readonly device: SimDevice;
  private own: ArrayBuffer | undefined;
  private readonly shared: boolean; // with a Buffer of the caller's own
  private readonly mappings = new Set<SimMapping>();
  private gone = false;

  constructor(device: SimDevice, domain: SimDomain, options: { bytes?: number; buffer?: Uint8Array; access?: number }) {
    this.device = device;
    this.domain = domain;
    this.access = options.access ?? AccessFlags.LOCAL_WRITE;
    this.shared = options.buffer !== undefined;
    if (options.buffer !== undefined) {
      this.bytes = options.buffer;
      this.own = options.buffer.buffer as ArrayBuffer;
    } else {
      this.own = new ArrayBuffer(options.bytes ?? 0);
      this.bytes = new Uint8Array(this.own);
    }
    if (this.bytes.byteLength < 1) throw systemError('EINVAL', 'ibv_reg_mr', 'memory of 0 bytes');
    if ((this.access & AccessFlags.REMOTE_WRITE) !== 0 && (this.access & AccessFlags.LOCAL_WRITE) === 0) {
      throw systemError('EINVAL', 'ibv_reg_mr', 'remote write needs local write');
    }
    this.length = this.bytes.byteLength;
    this.address = device.keys.reserve(this.length);
    this.lkey = device.keys.add(this);
    device.objects.add(this);
  }

  readonly length: number;

  get rkey(): number {
    return this.lkey;
  }

  get buffer(): ArrayBuffer {
    return this.own ?? new ArrayBuffer(0);
  }

  /** True when `count` bytes from `address` lie inside. */
  holds(address: number, count: number): boolean {
    return address >= this.address && address + count <= this.address + this.length;
  }

  /** Puts bytes where a peer or the device has written them. */
  store(address: number, from: Uint8Array, writer: SimQueuePair): void {
    // Pages that were given up: nobody sees them.
    if (this.gone) return;
    this.device.world.landing(this, address, from.byteLength, writer);
    this.bytes.set(from, address - this.address);
  }

  /** The bytes themselves, not a copy. */
  view(address: number, count: number): Uint8Array {
    const at = address - this.address;
    return this.bytes.subarray(at, at + count);
  }

  map(mapping: SimMapping): void {
    this.mappings.add(mapping);
  }

  unmap(mapping: SimMapping): void {
    this.mappings.delete(mapping);
  }

  deregister(): void {
    if (!this.device.enter()) return;
    if (this.keyed && this.device.world.revokes) {
      this.keyed = false;
      this.device.keys.remove(this.lkey);
      // What was stored until now was there; what is stored from now on goes to pages that only the peer has.
      for (const mapping of this.mappings) mapping.cut();
      this.mappings.clear();
    }
    if (this.inside > 0) throw systemError('EBUSY', 'ibv_dereg_mr', 'a peer is in the middle of a copy');
  }

  close(): void {
    if (this.gone || !this.device.enter()) return;
    if (this.keyed) this.device.keys.remove(this.lkey);
    this.keyed = false;
    for (const mapping of this.mappings) mapping.cut();
    this.mappings.clear();
    this.gone = true;
    if (this.inside === 0) this.device.keys.free(this.address, this.length);
    // Views of it have length 0 from now on.
    if (this.own !== undefined && !this.shared) structuredClone(this.own, { transfer: [this.own] });
    this.own = undefined;
    this.domain.regions.delete(this);
    this.device.objects.delete(this);
  }
}

const LINE_BYTES = 64;
/** The parts of a line in the order in which those of a descriptor are stored: the lower word of the sequence last. */
const LINE_ORDER = [
  [0, 8],
  [12, LINE_BYTES],
  [8, 12],
] as const;

/**
 * A peer's memory, mapped. Stores are seen by the peer at the next event at the latest, or when the device is called:
 * nothing else runs in between, so that nobody can tell the difference.
 */
export class SimMapping implements PortMapping {
  readonly buffer: ArrayBuffer;
  /** Registered over it: they end with it. */
  readonly regions = new Set<SimRegion>();
  private readonly bytes: Uint8Array;
  private readonly before: Uint8Array;
  private readonly peers: Uint8Array; // the memory itself
  private readonly region: SimRegion;
  private readonly address: number;
  private readonly writer: SimQueuePair;
  private readonly device: SimDevice;
  private attached = true;
  private closed = false;

  constructor(device: SimDevice, region: SimRegion, address: number, bytes: number, writer: SimQueuePair) {
    this.device = device;
    this.region = region;
    this.address = address;
    this.writer = writer;
    this.peers = region.view(address, bytes);
    this.before = this.peers.slice();
    this.buffer = this.before.buffer.slice(0) as ArrayBuffer;
    this.bytes = new Uint8Array(this.buffer);
    region.map(this);
    device.mappings.add(this);
    device.objects.add(this);
  }

  /** Carries stores over to the peer. */
  carry(): void {
    if (!this.attached || this.closed) return;
    const { bytes, before, peers } = this;
    // Most of the time nothing was stored: that is seen at once.
    if (Buffer.compare(bytes, before) !== 0) this.carryPart(0, bytes.length, bytes.length);
    // What the peer's side holds now, also where others have written.
    if (Buffer.compare(before, peers) !== 0) {
      before.set(peers);
      bytes.set(peers);
    }
  }

  /**
   * Carries at most `limit` bytes of what was stored, in the order in which a lane is stored into: what lies behind
   * first, as messages lie behind their descriptors, and of a descriptor its sequence last. Answers how many are left
   * of them.
   */
  carrySome(limit: number): number {
    const { bytes, before } = this;
    if (!this.attached || this.closed || Buffer.compare(bytes, before) === 0) return limit;
    let left = limit;
    for (let line = (bytes.length - 1) & -LINE_BYTES; line >= 0; line -= LINE_BYTES) {
      for (const [from, to] of LINE_ORDER) left = this.carryPart(line + from, Math.min(line + to, bytes.length), left);
    }
    return left;
  }

  // At most `limit` bytes of what was stored between two offsets. Answers how many are left of them.
  private carryPart(from: number, to: number, limit: number): number {
    const { bytes, before } = this;
    let left = limit;
    for (let at = from; at < to && left > 0; at++) {
      if (bytes[at] === before[at]) continue;
      let end = at + 1;
      while (end < to && bytes[end] !== before[end] && end - at < left) end++;
      left -= end - at;
      before.set(bytes.subarray(at, end), at);
      this.region.store(this.address + at, bytes.subarray(at, end), this.writer);
      at = end;
    }
    return left;
  }

  /** The peer has revoked the region. */
  cut(): void {
    this.carry();
    this.attached = false;
  }

  close(): void {
    if (this.closed || !this.device.enter()) return;
    for (const region of this.regions) region.close();
    this.closed = true;
    this.region.unmap(this);
    this.device.mappings.delete(this);
    this.device.objects.delete(this);
    structuredClone(this.buffer, { transfer: [this.buffer] });
  }
}
