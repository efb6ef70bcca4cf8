// The part of an inbox that the producer of a lane can reach: a queue pair and memory, in a protection domain of their
// own.
//
// Invariant: the memory belongs to one lane for its whole life. Once revoke() has returned true, no writer is inside
// and none can enter: queue pair destroyed, key revoked, mapped pages detached.
import { AccessFlags, type PortAddress, type QueuePairEndpoint } from '../verbs/index.js';
import { DESCRIPTOR_BYTES, DESCRIPTOR_WORDS, PULL_DEPTH } from './layout.js';
import type { PortCompletionQueue, PortDevice, PortDomain, PortMemory, PortQueuePair } from './port.js';

/** Send work requests of a lane: its report, and READs. */
export const SEND_DEPTH = 2 + PULL_DEPTH;
const QP_ACCESS = AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_WRITE;

/** How large a lane is, and what it allows. */
export interface LaneShape {
  slots: number;
  dataBytes: number;
  /** Room for a message behind each descriptor. */
  inlineBytes: number;
  /** Its producer may map it. */
  inPlace: boolean;
  /** Messages are found by looking at the next slot. */
  polled: boolean;
}

export interface LaneParts {
  pd: PortDomain;
  qp: PortQueuePair;
  memory: PortMemory;
}

/** Makes the parts of a lane in a protection domain of their own: the key of one lane opens no other. */
export type MakeLaneParts = (slots: number, bytes: number, access: number) => LaneParts;

/** Makes them on a device, for a completion queue. */
export function laneParts(device: PortDevice, sendCq: PortCompletionQueue): MakeLaneParts {
  return (slots, bytes, access) => {
    const pd = device.allocateProtectionDomain();
    try {
      const qp = pd.createQueuePair({ sendCq, maxSendWr: SEND_DEPTH, maxRecvWr: slots });
      return { pd, qp, memory: pd.registerMemory({ bytes, access }) };
    } catch (error) {
      pd.close();
      throw error;
    }
  };
}

export class LaneMemory {
  readonly qp: PortQueuePair;
  /** The whole: descriptors, data ring, and the control block from which reports are written. */
  readonly bytes: number;
  /** Its address and key for the producer. */
  readonly remote: { address: number; rkey: number };
  /** Descriptor ring and data ring, and where the latter begins. */
  readonly data: Uint8Array;
  readonly dataAt: number;
  /** The descriptor ring, each slot of so many words. */
  readonly words: Uint32Array;
  readonly slotWords: number;
  /** The control block. */
  readonly control: { words: Uint32Array; address: number; lkey: number };
  private readonly pd: PortDomain;
  private readonly memory: PortMemory;
  private closed = false;

  /** @throws what `make` throws */
  constructor({ slots, dataBytes, inlineBytes, inPlace }: LaneShape, make: MakeLaneParts) {
    const slotBytes = DESCRIPTOR_BYTES + inlineBytes;
    const controlAt = slots * slotBytes + dataBytes;
    this.bytes = controlAt + DESCRIPTOR_BYTES;
    const { pd, qp, memory } = make(slots, this.bytes, QP_ACCESS | (inPlace ? AccessFlags.REMOTE_MAP : 0));
    this.pd = pd;
    this.qp = qp;
    this.memory = memory;
    const { buffer, address, rkey, lkey } = memory;
    this.remote = { address, rkey };
    this.data = new Uint8Array(buffer, 0, controlAt);
    this.dataAt = controlAt - dataBytes;
    this.words = new Uint32Array(buffer, 0, this.dataAt / 4);
    this.slotWords = slotBytes / 4;
    const words = new Uint32Array(buffer, controlAt, DESCRIPTOR_WORDS);
    this.control = { words, address: address + controlAt, lkey };
  }

  /**
   * Connects the queue pair to that of the producer.
   *
   * @param repost posts receives, between the states in which that is possible and in which the peer may send
   * @throws what the device throws; everything is closed then
   */
  connect(local: PortAddress, remote: QueuePairEndpoint, repost: () => void): void {
    const { qp } = this;
    try {
      qp.toInit(local, QP_ACCESS);
      repost();
      qp.toReadyToReceive(local, remote);
      qp.toReadyToSend();
    } catch (error) {
      this.pd.close();
      throw error;
    }
  }

  /** True when close() was called. */
  get isClosed(): boolean {
    return this.closed;
  }

  /** Registers memory into which the queue pair may READ. */
  register(buffer: Uint8Array, access: number): PortMemory {
    return this.pd.registerMemory({ buffer, access });
  }

  /** The queue pair to ERR: what the producer has under way ends, what has arrived can still be polled. */
  stop(): void {
    try {
      if (!this.qp.closed) this.qp.toError();
    } catch {
      // A queue pair that cannot be stopped is still destroyed.
    }
  }

  /**
   * Ends the producer's access for good.
   *
   * @param keep the memory stays readable, until close()
   * @returns false when that could not be proved, as a late writer may still be inside
   */
  revoke(keep: boolean): boolean {
    let revoked = true;
    try {
      this.qp.close();
    } catch {
      revoked = false;
    }
    try {
      // Without views that are held nobody looks at the memory again, and there is nothing to be kept.
      if (keep) this.memory.deregister();
    } catch {
      revoked = false;
    }
    if (!keep && !this.close()) revoked = false;
    return revoked;
  }

  /** Takes the memory away from views that are still held. Answers false when the device does not let go of it. */
  close(): boolean {
    if (this.closed) return true;
    this.closed = true;
    try {
      this.pd.close();
      return true;
    } catch {
      // It was or will be counted as quarantined, and ends with the device.
      return false;
    }
  }
}
