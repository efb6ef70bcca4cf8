// Registered memory of messages that are pulled: the inbox READs their payloads from here.
//
// Invariant: a payload stays unchanged until its message is acknowledged. Then no READ of it can be under way, as the
// inbox acknowledges only messages that it is not pulling, and earlier connections have lost their queue pairs. So the
// memory may be used again under the same key, by the same outbox.
import { AccessFlags } from '../verbs/index.js';
import type { PortDomain, PortMemory } from './port.js';

const PAGE_BYTES = 65536;

export interface Payload {
  memory: PortMemory;
  /** The whole region. */
  bytes: Uint8Array;
}

export class PullMemory {
  /** Registered bytes, in use or not. */
  registeredBytes = 0;
  private readonly pd: PortDomain;
  private readonly limitBytes: number;
  private readonly used = new Map<number, Payload>(); // by sequence, oldest first
  private idle: Payload[] = [];

  constructor(pd: PortDomain, limitBytes: number) {
    this.pd = pd;
    this.limitBytes = limitBytes;
  }

  /**
   * Memory for `bytes` bytes, for attach().
   *
   * @returns undefined when there is no room before earlier messages are acknowledged
   * @throws RdmaError ENOMEM
   */
  allocate(bytes: number): Payload | undefined {
    // Rounded up so that it serves others too, but not beyond what there may be.
    const size = Math.max(bytes, 1, Math.min(Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES, this.limitBytes));
    let best: Payload | undefined;
    for (const payload of this.idle) {
      if (payload.bytes.length < size || payload.bytes.length > 2 * size) continue;
      if (best === undefined || payload.bytes.length < best.bytes.length) best = payload;
    }
    if (best !== undefined) {
      this.idle = this.idle.filter((payload) => payload !== best);
      return best;
    }
    while (this.registeredBytes + size > this.limitBytes) {
      const payload = this.idle.shift();
      if (payload === undefined) return undefined;
      this.drop(payload);
    }
    const memory = this.pd.registerMemory({ bytes: size, access: AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_READ });
    this.registeredBytes += size;
    return { memory, bytes: new Uint8Array(memory.buffer) };
  }

  private drop(payload: Payload): void {
    this.registeredBytes -= payload.bytes.length;
    payload.memory.close();
  }

  /** The payload belongs to message `sequence` from now on. */
  attach(sequence: number, payload: Payload): void {
    this.used.set(sequence, payload);
  }

  of(sequence: number): Payload {
    return this.used.get(sequence)!;
  }

  /** The message was given up: its memory is free. */
  release(sequence: number): void {
    const payload = this.used.get(sequence);
    if (payload === undefined) return;
    this.used.delete(sequence);
    this.idle.push(payload);
  }

  /** Everything up to `sequence` was acknowledged. */
  acknowledge(sequence: number): void {
    for (const used of this.used.keys()) {
      if (used > sequence) return;
      this.release(used);
    }
  }

  /** Gives all memory back, in use or not. */
  close(): void {
    for (const payload of [...this.used.values(), ...this.idle]) this.drop(payload);
    this.used.clear();
    this.idle = [];
  }
}
