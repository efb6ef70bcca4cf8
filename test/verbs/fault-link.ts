// One end of a connection in a fault round: posts random requests, and keeps account of what became of them.
// Invariant: every completion is accounted for to exactly one request; a link that has failed posts no more.
import {
  AccessFlags,
  CompletionOpcode as Opcode,
  type CompletionQueue,
  CompletionStatus as Status,
  type MemoryRegion,
  type PortAddress,
  type ProtectionDomain,
  type QueuePair,
  SendFlags,
} from '../../src/ts/verbs/index.js';
import { between, type RemoteRegion, type Socket } from './fault-plan.js';

const { SIGNALED } = SendFlags;
const RIGHTS = AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_WRITE | AccessFlags.REMOTE_READ | AccessFlags.REMOTE_ATOMIC;
const RECEIVES = 32;
const RECEIVE_BYTES = 4096;
const AT_ONCE = 8;
/** What a region begins with that a peer adds to, and that no WRITE touches. */
const WORD_BYTES = 64;
const OF_RECEIVE = 2 ** 32;
const OF_ADD = 2 ** 33;
const OF_SEND = 2 ** 34;

/** What all links of a process use. */
export interface Ground {
  pd: ProtectionDomain;
  cq: CompletionQueue;
  address: PortAddress;
  /** Where requests copy from and to. */
  scratch: MemoryRegion;
  random: () => number;
}

export class Link {
  readonly qp: QueuePair;
  readonly regions: MemoryRegion[];
  private remote: RemoteRegion[] = [];
  private readonly inbox: MemoryRegion;
  outstanding = 0;
  added = 0;
  sent = 0;
  received = 0;
  operations = 0;
  /** The first status that was none of success; undefined: none. */
  failedWith: number | undefined;
  lost = 0;
  fatalAtMs: number | undefined;
  closed = false;

  constructor(
    private readonly ground: Ground,
    readonly peer: number,
    /** Its memory stays until the end, so that nothing may fail as long as both processes live. */
    readonly isSteady: boolean,
    largeBytes: number,
  ) {
    const { pd, cq } = ground;
    this.qp = pd.createQueuePair({ sendCq: cq, maxSendWr: 32, maxRecvWr: RECEIVES });
    this.inbox = pd.registerMemory({ bytes: RECEIVES * RECEIVE_BYTES });
    this.regions = isSteady
      ? [pd.registerMemory({ bytes: largeBytes, access: RIGHTS })]
      : [
          pd.registerMemory({ bytes: largeBytes, access: RIGHTS }),
          pd.registerMemory({ bytes: 65536, access: RIGHTS }),
          // Peers copy to this one by system calls.
          pd.registerMemory({ buffer: Buffer.alloc(largeBytes), access: RIGHTS & ~AccessFlags.REMOTE_ATOMIC }),
        ];
  }

  socket(): Socket {
    const regions = this.regions.map(({ address, rkey, byteLength }) => ({ address, rkey, bytes: byteLength }));
    return { endpoint: this.qp.endpoint(this.ground.address), regions };
  }

  connect(socket: Socket): void {
    this.remote = socket.regions;
    const patience = this.isSteady ? { timeout: 14, retryCount: 7 } : { timeout: 8, retryCount: 1 };
    this.qp.connect(this.ground.address, socket.endpoint, { access: RIGHTS, ...patience });
    for (let i = 0; i < RECEIVES; i++) this.postReceive(i);
  }

  private postReceive(i: number): void {
    const at = this.inbox.address + i * RECEIVE_BYTES;
    this.qp.receives.into(0, OF_RECEIVE + i, at, RECEIVE_BYTES, this.inbox.lkey);
    this.qp.postReceive(1);
  }

  /** Fills the queue with random requests. */
  post(): void {
    if (this.closed || this.failedWith !== undefined) return;
    while (this.outstanding < AT_ONCE) this.postOne();
  }

  private postOne(): void {
    const { random, scratch } = this.ground;
    const { sends } = this.qp;
    const region = this.remote[between(random, 0, this.remote.length - 1)]!;
    const room = Math.min(region.bytes - WORD_BYTES, scratch.byteLength - WORD_BYTES);
    const length = random() < 0.1 ? room : between(random, 0, Math.min(room, 8192));
    const at = region.address + WORD_BYTES + between(random, 0, region.bytes - WORD_BYTES - length);
    const { address: local, lkey } = scratch;
    const draw = random();
    if (draw < 0.35) sends.write(0, 0, SIGNALED, at, region.rkey, local, length, lkey);
    else if (draw < 0.55) sends.read(0, 0, SIGNALED, at, region.rkey, local + WORD_BYTES, length, lkey);
    else if (draw < 0.7)
      sends.fetchAdd(0, OF_ADD, SIGNALED, this.remote[0]!.address, this.remote[0]!.rkey, 1n, local, lkey);
    else if (draw < 0.85) sends.send(0, OF_SEND, SIGNALED, local, Math.min(length, RECEIVE_BYTES), lkey);
    else sends.writeWithImm(0, OF_SEND, SIGNALED, 7, at, region.rkey, local, length, lkey);
    this.qp.postSend(1);
    this.outstanding++;
    this.operations++;
  }

  /** A request that ends with the reason, when the peer has died and none was under way. */
  probe(): void {
    const { scratch } = this.ground;
    this.qp.sends.send(0, 0, SIGNALED, scratch.address, 8, scratch.lkey);
    this.qp.postSend(1);
    this.outstanding++;
  }

  account(wrId: number, status: number, opcode: number): void {
    if (wrId >= OF_RECEIVE && wrId < OF_ADD) {
      if (status !== Status.SUCCESS) return;
      if (opcode !== Opcode.RECEIVE && opcode !== Opcode.RECEIVE_WITH_IMM)
        throw new Error(`opcode ${opcode} of a receive`);
      this.received++;
      if (!this.closed) this.postReceive(wrId - OF_RECEIVE);
      return;
    }
    if (--this.outstanding < 0) throw new Error('more completions than requests');
    if (status === Status.SUCCESS) {
      if (this.failedWith !== undefined) throw new Error('a request succeeded after one that failed');
      if (wrId === OF_ADD) this.added++;
      if (wrId === OF_SEND) this.sent++;
      return;
    }
    if (status === Status.RETRY_EXCEEDED) this.lost++;
    this.failedWith ??= status;
  }

  /** What the peer has added. */
  found(): number {
    return Number(new BigUint64Array(this.regions[0]!.buffer, 0, 1)[0]);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.qp.close();
  }

  closeInbox(): void {
    this.inbox.close();
  }
}
