// One-sided operations of a producer on the shared ring, each with a promise: the device interface of the two rivals.
//
// Invariant: operations of one batch are carried out in the order in which they were added; after a batch that fails
// the requester cannot be used until its owner connects again.
import { RdmaError } from '../../../src/ts/core/errors.js';
import type {
  PortChannel,
  PortCompletionQueue,
  PortDevice,
  PortDomain,
  PortMemory,
  PortQueuePair,
  RingPort,
} from '../../../src/ts/ring/port.js';
import {
  CompletionStatus,
  completionStatusWords,
  type QueuePairEndpoint,
  SendFlags,
} from '../../../src/ts/verbs/index.js';
import { MAX_MESSAGE_BYTES } from './workload.js';

export const SERVICE = 'deadlock-bench';
export const SECRET = 'known to both sides';
const TIMEOUT_MS = 5000;
const DEPTH = 16;
/** Local memory: results of READs and atomics, a descriptor, a message. */
export const RESULT_AT = 0;
export const ENTRY_AT = 64;
export const MESSAGE_AT = 128;
/** The last of a batch: its completion tells of all before it. */
export const LAST = SendFlags.SIGNALED;
const LOCAL_BYTES = MESSAGE_AT + MAX_MESSAGE_BYTES;

/** What the consumer says to a producer that has connected. */
export interface RingAnswer {
  endpoint: QueuePairEndpoint;
  address: number;
  rkey: number;
}

interface Waiter {
  resolve: () => void;
  reject: (error: unknown) => void;
}

/** What a producer keeps through all its connections. */
export class Requester {
  readonly local: PortMemory;
  readonly view: DataView;
  private readonly port: RingPort;
  private readonly device: PortDevice;
  private readonly domain: PortDomain;
  private readonly cq: PortCompletionQueue;
  private channel: PortChannel | undefined;
  private qp: PortQueuePair | undefined;
  private ring: { address: number; rkey: number } = { address: 0, rkey: 0 };
  private filled = 0;
  private waiter: Waiter | undefined;

  constructor(port: RingPort) {
    this.port = port;
    this.device = port.device(undefined).device;
    this.domain = this.device.allocateProtectionDomain();
    this.local = this.domain.registerMemory({ bytes: LOCAL_BYTES });
    this.view = new DataView(this.local.buffer);
    const channel = this.device.createCompletionChannel(() => this.drain());
    this.cq = this.device.createCompletionQueue(2 * DEPTH, channel);
    this.cq.requestNotify();
  }

  /** Connects, for the first time or again after a failure. */
  async connect(name: string, to: { host: string; port: number }): Promise<void> {
    this.qp?.close();
    this.channel?.destroy();
    this.filled = 0;
    const signal = new AbortController().signal;
    const { host, port } = to;
    const channel = await this.port.connect({
      host,
      port,
      secret: SECRET,
      service: SERVICE,
      name,
      timeoutMs: TIMEOUT_MS,
      signal,
    });
    const address = this.device.portAddress();
    const qp = this.domain.createQueuePair({ sendCq: this.cq, maxSendWr: DEPTH, maxRecvWr: 1 });
    qp.toInit(address, 0);
    channel.send(qp.endpoint(address));
    const { endpoint, ...ring } = (await channel.receive({ timeoutMs: TIMEOUT_MS })) as RingAnswer;
    qp.toReadyToReceive(address, endpoint);
    qp.toReadyToSend();
    this.channel = channel;
    this.qp = qp;
    this.ring = ring;
  }

  private get sends() {
    if (this.qp === undefined) throw new RdmaError('RDMA_ERR_CLOSED', 'not connected');
    return this.qp.sends;
  }

  /** Adds a WRITE of local bytes into the ring. */
  write(to: number, from: number, length: number): void {
    const { address, rkey } = this.ring;
    this.sends.write(this.filled++, 0, 0, address + to, rkey, this.local.address + from, length, this.local.lkey);
  }

  /** Adds a READ of the ring, the last of its batch. */
  read(from: number, to: number, length: number): void {
    const { address, rkey } = this.ring;
    this.sends.read(this.filled++, 0, LAST, address + from, rkey, this.local.address + to, length, this.local.lkey);
  }

  /** Adds a compare-and-swap; what was there comes to `to`. */
  compareSwap(at: number, compare: bigint, swap: bigint, to: number, flags: 0 | typeof LAST): void {
    const { address, rkey } = this.ring;
    const place = this.local.address + to;
    this.sends.compareSwap(this.filled++, 0, flags, address + at, rkey, compare, swap, place, this.local.lkey);
  }

  /** Adds the call that wakes the consumer, the last of its batch: a WRITE of nothing with an immediate. */
  wake(): void {
    const { address, rkey } = this.ring;
    this.sends.writeWithImm(this.filled++, 0, LAST, 1, address, rkey, this.local.address, 0, this.local.lkey);
  }

  /** Posts what was added with one doorbell, and waits until all of it is done. @throws RdmaError RDMA_ERR_PEER_GONE */
  async go(): Promise<void> {
    const count = this.filled;
    this.filled = 0;
    await new Promise<void>((resolve, reject) => {
      this.waiter = { resolve, reject };
      this.qp?.postSend(count);
    });
  }

  /** What was read as a 64-bit word. */
  result(at: number): bigint {
    return this.view.getBigUint64(RESULT_AT + at, true);
  }

  private drain(): void {
    for (;;) {
      this.cq.requestNotify();
      const count = this.cq.poll();
      if (count === 0) return;
      for (let i = 0; i < count; i++) this.handle(i);
    }
  }

  private handle(i: number): void {
    const { completions } = this.cq;
    const { waiter } = this;
    if (waiter === undefined || completions.qpNum(i) !== this.qp?.qpNum) return;
    this.waiter = undefined;
    const status = completions.status(i);
    if (status === CompletionStatus.SUCCESS) waiter.resolve();
    else waiter.reject(new RdmaError('RDMA_ERR_PEER_GONE', completionStatusWords(status)));
  }
}
