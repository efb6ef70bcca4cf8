// The consumer of the shared ring.
//
// Invariant: a message is handed on only when descriptor and bytes have the checksums that were written with them, and
// each message of a producer once. What stays invalid for longer than a time-out is skipped, so that one broken entry
// does not stop all that come after it.
import type {
  PortChannel,
  PortCompletionQueue,
  PortDevice,
  PortMemory,
  PortQueuePair,
  RingPort,
} from '../../../src/ts/ring/port.js';
import { AccessFlags, crc32cOf, type QueuePairEndpoint } from '../../../src/ts/verbs/index.js';
import type { Books } from './books.js';
import { SECRET, SERVICE } from './requester.js';
import {
  DATA_AT,
  DATA_BYTES,
  HEAD_AT,
  HEADER_BYTES,
  highOf,
  lowOf,
  pack,
  readEntry,
  RING_BYTES,
  SLOT_BYTES,
  SLOTS,
  TAIL_AT,
} from './shared-ring.js';
import { HANDLE_MS, MAX_MESSAGE_BYTES, PRODUCERS } from './workload.js';

/** How long an entry may stay invalid before it is skipped, in virtual ms. */
export const SKIP_MS = 20;
const RETRY_MS = 1;
const RECEIVES = 64;
const ACCESS = AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_WRITE | AccessFlags.REMOTE_READ | AccessFlags.REMOTE_ATOMIC;

export class SharedRingConsumer {
  private readonly port: RingPort;
  private readonly books: Books;
  private readonly device: PortDevice;
  private readonly domain;
  private readonly memory: PortMemory;
  private readonly view: DataView;
  private readonly bytes: Uint8Array;
  private readonly cq: PortCompletionQueue;
  private readonly peers = new Map<string, PortQueuePair>();
  private readonly last: number[] = new Array<number>(PRODUCERS + 1).fill(0);
  private next = 0;
  private end = 0; // of the bytes of what was taken
  private invalidSinceMs: number | undefined;
  private waiting = false;

  constructor(port: RingPort, books: Books) {
    this.port = port;
    this.books = books;
    this.device = port.device(undefined).device;
    this.domain = this.device.allocateProtectionDomain();
    this.memory = this.domain.registerMemory({ bytes: RING_BYTES, access: ACCESS });
    this.view = new DataView(this.memory.buffer);
    this.bytes = new Uint8Array(this.memory.buffer);
    const channel = this.device.createCompletionChannel(() => this.wake());
    this.cq = this.device.createCompletionQueue(4 * RECEIVES * PRODUCERS, channel);
    this.cq.requestNotify();
  }

  async listen(): Promise<{ host: string; port: number }> {
    const server = await this.port.listen({
      host: '127.0.0.1',
      port: 0,
      secret: SECRET,
      service: SERVICE,
      maxPeers: 4 * PRODUCERS,
      onPeer: (channel) => void this.attach(channel),
    });
    return server.address;
  }

  // A producer that comes again has its old queue pair destroyed first: of a connection that is known to be lost
  // nothing is written any more.
  private async attach(channel: PortChannel): Promise<void> {
    try {
      const endpoint = (await channel.receive({ timeoutMs: 5000 })) as QueuePairEndpoint;
      const address = this.device.portAddress();
      this.peers.get(channel.peerName)?.close();
      const qp = this.domain.createQueuePair({ sendCq: this.cq, maxSendWr: 1, maxRecvWr: RECEIVES });
      this.peers.set(channel.peerName, qp);
      qp.toInit(address, ACCESS);
      qp.postEmptyReceives(RECEIVES);
      qp.toReadyToReceive(address, endpoint);
      qp.toReadyToSend();
      channel.send({
        endpoint: qp.endpoint(address),
        address: this.memory.address,
        rkey: this.memory.rkey,
      });
    } catch {
      channel.destroy(); // it has died on the way
    }
  }

  private wake(): void {
    for (;;) {
      this.cq.requestNotify();
      const count = this.cq.poll();
      if (count === 0) break;
      for (let i = 0; i < count; i++) {
        const qpNum = this.cq.completions.qpNum(i);
        const qp = [...this.peers.values()].find((peer) => peer.qpNum === qpNum);
        if (this.cq.completions.status(i) === 0) qp?.postEmptyReceives(1);
      }
    }
    if (!this.waiting) this.take();
  }

  private takeIn(ms: number): void {
    this.waiting = true;
    this.port.clock.after(ms, () => {
      this.waiting = false;
      this.take();
    });
  }

  /** Takes one message, and goes on with the next when it has been handled. */
  private take(): void {
    const head = () => this.view.getBigUint64(HEAD_AT, true);
    while (this.next < highOf(head())) {
      const taken = this.takeOne();
      if (!taken && this.stillWaits()) return;
      this.invalidSinceMs = undefined;
      if (!taken) this.next++;
      if (this.next === highOf(head())) this.end = lowOf(head());
      this.view.setBigUint64(TAIL_AT, pack(this.next, this.end), true);
      if (taken) {
        this.takeIn(HANDLE_MS);
        return;
      }
    }
  }

  // An invalid entry may become valid yet, as far as anybody can tell; for a while it is looked at again and again.
  private stillWaits(): boolean {
    const nowMs = this.port.clock.now();
    this.invalidSinceMs ??= nowMs;
    if (nowMs - this.invalidSinceMs > SKIP_MS) return false;
    this.takeIn(RETRY_MS);
    return true;
  }

  private takeOne(): boolean {
    const entry = readEntry(this.view, HEADER_BYTES + (this.next % SLOTS) * SLOT_BYTES);
    if (entry === undefined || entry.index !== this.next || entry.length > MAX_MESSAGE_BYTES) return false;
    const { position, length, producer, sequence, crc } = entry;
    const at = position % DATA_BYTES;
    if (at + length > DATA_BYTES || producer < 1 || producer > PRODUCERS) return false;
    // A copy first, as the memory is everybody's.
    const copy = this.bytes.slice(DATA_AT + at, DATA_AT + at + length);
    if (crc32cOf(copy) !== crc) return false;
    this.next++;
    this.end = position + length;
    if (sequence <= this.last[producer]!) return true; // sent once more after an unknown outcome
    this.last[producer] = sequence;
    this.books.delivered(producer - 1, sequence, copy);
    return true;
  }
}
