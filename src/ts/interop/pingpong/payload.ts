// The memory of a pingpong and what is in it.
//
// Invariant: without check there is one buffer for both ways, as in the C programs. With check a message that did not
// come whole cannot pass: it is compared to the last byte, and its place is overwritten before the next may come.
//
// With --chk the C client sets the first byte of each page to 0 and the C server looks at these bytes after the last
// message. All sides send back what they received, so that every message of a run has the same content, and a client
// can expect its own.
import type { MemoryRegion, ProtectionDomain } from '../../verbs/index.js';
import type { PingPongSettings } from './settings.js';

const PAGE_BYTES = 4096;
const MARK = 0;
const INITIAL = 0x7b;
const POISON = 0xa5;
/** A datagram's receive gets this many bytes before the message. */
const GRH_BYTES = 40;

/** The buffers, by number of bytes from the start of one memory region. */
export class Payload {
  readonly region: MemoryRegion;
  /** Length of a receive. */
  readonly receiveBytes: number;
  /** Messages that were not as they should be. */
  invalidMessages = 0;
  /** Pages in which they were not. */
  readonly invalidPages = new Set<number>();
  private readonly headBytes: number;
  private readonly checks: boolean;
  private readonly isClient: boolean;
  private readonly sizeBytes: number;
  private readonly sendOffset: number;
  private readonly bytes: Buffer;
  private readonly slots: Buffer[] = [];
  private readonly free: number[] = [];
  private expected: Buffer | undefined;

  /** @throws RdmaError as ProtectionDomain.registerMemory, when the memory is not to be had */
  constructor(pd: ProtectionDomain, settings: PingPongSettings) {
    const { sizeBytes, queuePairs } = settings;
    this.sizeBytes = sizeBytes;
    this.checks = settings.check;
    this.isClient = settings.host !== undefined;
    this.headBytes = settings.type === 'ud' ? GRH_BYTES : 0;
    this.receiveBytes = this.headBytes + sizeBytes;
    // One message is under way to each queue pair. Of a shared queue nobody knows which receive it takes, so there each
    // has a place of its own.
    const slots = this.checks && settings.type === 'srq' ? settings.receiveDepth : 1;
    const sends = this.checks ? (this.isClient ? 1 : queuePairs) : 0;
    this.sendOffset = this.checks ? slots * this.receiveBytes : this.headBytes;
    this.region = pd.registerMemory({ bytes: slots * this.receiveBytes + sends * sizeBytes });
    this.bytes = Buffer.from(this.region.buffer, 0, this.region.byteLength).fill(this.checks ? POISON : INITIAL);
    if (!this.checks) return;
    for (let slot = 0; slot < slots; slot++) {
      const at = slot * this.receiveBytes + this.headBytes;
      this.slots.push(this.bytes.subarray(at, at + sizeBytes));
      if (slots > 1) this.free.push(slot);
    }
    if (this.isClient) {
      const own = this.bytes.subarray(this.sendOffset, this.sendOffset + sizeBytes);
      for (let i = 0; i < sizeBytes; i++) own[i] = i % PAGE_BYTES === 0 ? MARK : (i * 31 + (i >>> 8) * 7) & 0xff;
      this.expected = own;
    }
  }

  /** Where queue pair `index` sends from. */
  sendAddress(index: number): number {
    const own = this.checks && !this.isClient ? index * this.sizeBytes : 0;
    return this.region.address + this.sendOffset + own;
  }

  /** Takes a place for a receive. */
  takeSlot(): number {
    return this.free.pop() ?? 0;
  }

  receiveAddress(slot: number): number {
    return this.region.address + slot * this.receiveBytes;
  }

  /** A message came to this place, through queue pair `index`, which answers with the same. */
  received(slot: number, index: number): void {
    if (!this.checks) return;
    const message = this.slots[slot]!;
    const bad = this.firstBadPage(message);
    if (bad !== -1) {
      this.invalidMessages++;
      this.invalidPages.add(bad);
    } else if (this.expected === undefined) {
      this.expected = Buffer.from(message);
    }
    if (!this.isClient) this.bytes.set(message, this.sendOffset + index * this.sizeBytes);
    this.discard(slot);
  }

  /** What came to this place is from somebody else. */
  discard(slot: number): void {
    this.slots[slot]?.fill(POISON);
    if (this.slots.length > 1) this.free.push(slot);
  }

  private firstBadPage(message: Buffer): number {
    if (this.expected?.equals(message)) return -1;
    for (let at = 0; at < message.byteLength; at += PAGE_BYTES) {
      const page = message.subarray(at, at + PAGE_BYTES);
      const good =
        this.expected === undefined ? page[0] === MARK : this.expected.subarray(at, at + PAGE_BYTES).equals(page);
      if (!good) return at / PAGE_BYTES;
    }
    return -1;
  }
}
