// A promise for each work request of a queue pair: the comfortable level above postSend() and postReceive().
//
// Invariant: both levels work on the same queue pair at the same time; completions of promises never appear in
// poll(), all others always do. Every operation is signaled. Memory that an operation names belongs to the device until
// its promise settles, or `error.settled` does when the waiting was given up.
import { invalidArgument } from '../core/validate.js';
import type { AddressHandle } from './address-handle.js';
import { AccessFlags, QpType, SendFlags, WorkOpcode } from '../addon/constants.js';
import type { MemoryRegion } from './memory-region.js';
import type { MemoryWindow } from './memory-window.js';
import type { CompletedOperation, WaitOptions } from './operation.js';
import { OperationQueue } from './operation-queue.js';
import type { QueuePair } from './queue-pair.js';
import { nextRkey } from './send-requests.js';
import { AtomicResults } from './atomic-results.js';
import { MAX_SGE, type ScatterGather } from './work-requests.js';

/** Local memory of an operation: one piece or up to {@link MAX_SGE}; see MemoryRegion.piece(). None: 0 bytes. */
export type Pieces = ScatterGather | readonly ScatterGather[];

/** Memory of the peer. */
export interface RemoteMemory {
  /** Address in the peer, as its MemoryRegion.address plus an offset. */
  address: number;
  rkey: number;
}

/** How to carry out a send work request; see ibv_post_send(3). */
export interface OperationOptions extends WaitOptions {
  /** Waits for earlier READs and atomics (IBV_SEND_FENCE). */
  fence?: boolean;
  /** Raises a solicited event at the receiver (IBV_SEND_SOLICITED). */
  solicited?: boolean;
  /** Copies the data when posting, so that its memory is free at once; up to capabilities.maxInlineData bytes. */
  inline?: boolean;
}

/** Where a datagram goes. */
export interface Destination {
  addressHandle: AddressHandle;
  qpNum: number;
  qkey: number;
}

/** More about a SEND. */
export interface SendOperationOptions extends OperationOptions {
  /** 32 bits that the receiver's completion shows. */
  imm?: number;
  /** A key of the peer's that becomes invalid on arrival (SEND_WITH_INV). */
  invalidateRkey?: number;
  /** Needed on a datagram (UD) queue pair, and only there. */
  to?: Destination;
}

/** Made by {@link QueuePair.operations}. */
export class Operations {
  private readonly sends: OperationQueue;
  private readonly receives: OperationQueue;
  private readonly atomics: AtomicResults;

  /** @internal */
  constructor(private readonly qp: QueuePair) {
    this.sends = new OperationQueue('queue pair', () => [qp.sendCq.pump]);
    this.receives = new OperationQueue('queue pair', () => [qp.receiveCq.pump]);
    this.atomics = new AtomicResults(qp.protectionDomain);
  }

  /** Promises that have not settled, or whose memory is still in use. */
  get pending(): number {
    return this.sends.pending + this.receives.pending;
  }

  /**
   * SEND, into a receive of the peer.
   *
   * @param pieces what to send, in order; up to 2^31 bytes, on a datagram queue pair up to the path MTU
   * @returns when the peer's device has it (UC, UD: when it has left)
   * @throws RdmaError RDMA_ERR_COMPLETION with `status`; RDMA_ERR_TIMEOUT, RDMA_ERR_ABORTED (`error.settled` tells when
   *   the memory is free); RDMA_ERR_QUEUE_FULL; RDMA_ERR_CLOSED; EINVAL in a wrong state; RDMA_ERR_INVALID_ARGUMENT
   * @see ibv_post_send(3)
   */
  async send(pieces: Pieces, options: SendOperationOptions = {}): Promise<void> {
    const { imm, invalidateRkey, to } = options;
    if (imm !== undefined && invalidateRkey !== undefined) {
      throw invalidArgument('options', options, 'with imm or invalidateRkey, not both');
    }
    let opcode: number = WorkOpcode.SEND;
    if (imm !== undefined) opcode = WorkOpcode.SEND_WITH_IMM;
    if (invalidateRkey !== undefined) opcode = WorkOpcode.SEND_WITH_INV;
    const list = listOf(pieces);
    await this.post('send', options, (wrId, flags) => {
      this.qp.sends.set(0, opcode, wrId, flags, imm ?? 0, 0, invalidateRkey ?? 0, list);
      if (to !== undefined) this.qp.sends.to(0, to.addressHandle.number, to.qpNum, to.qkey);
    });
  }

  /**
   * One-sided WRITE of local pieces to the peer's memory; with `imm` the peer gets a completion of one of its receives.
   *
   * @returns when the data is in the peer's memory
   * @throws as {@link send}
   * @see ibv_post_send(3)
   */
  async write(pieces: Pieces, remote: RemoteMemory, options: OperationOptions & { imm?: number } = {}): Promise<void> {
    const { imm } = options;
    const opcode = imm === undefined ? WorkOpcode.WRITE : WorkOpcode.WRITE_WITH_IMM;
    const list = listOf(pieces);
    await this.post('write', options, (wrId, flags) =>
      this.qp.sends.set(0, opcode, wrId, flags, imm ?? 0, remote.address, remote.rkey, list),
    );
  }

  /**
   * One-sided READ of the peer's memory into local pieces.
   *
   * @returns when the data is here
   * @throws as {@link send}
   * @see ibv_post_send(3)
   */
  async read(pieces: Pieces, remote: RemoteMemory, options: OperationOptions = {}): Promise<void> {
    const list = listOf(pieces);
    await this.post('read', options, (wrId, flags) =>
      this.qp.sends.set(0, WorkOpcode.READ, wrId, flags, 0, remote.address, remote.rkey, list),
    );
  }

  /**
   * Compare and swap on 8 aligned bytes of the peer's memory, in the machine's byte order.
   *
   * @param compare an unsigned 64-bit number; taken modulo 2^64
   * @param swap likewise
   * @returns what was there before; the swap took place when that equals `compare`
   * @throws as {@link send}; ENOTSUP where the device has no atomics
   * @see ibv_post_send(3)
   */
  async compareSwap(
    remote: RemoteMemory,
    compare: bigint,
    swap: bigint,
    options: OperationOptions = {},
  ): Promise<bigint> {
    checkBigint('compare', compare);
    checkBigint('swap', swap);
    return await this.atomic('compareSwap', options, (wrId, flags, result) =>
      this.qp.sends.compareSwap(
        0,
        wrId,
        flags,
        remote.address,
        remote.rkey,
        compare,
        swap,
        result.address,
        result.lkey,
      ),
    );
  }

  /**
   * Fetch and add on 8 aligned bytes of the peer's memory, in the machine's byte order.
   *
   * @param add unsigned 64-bit number; taken modulo 2^64
   * @returns what was there before
   * @throws as {@link compareSwap}
   * @see ibv_post_send(3)
   */
  async fetchAdd(remote: RemoteMemory, add: bigint, options: OperationOptions = {}): Promise<bigint> {
    checkBigint('add', add);
    return await this.atomic('fetchAdd', options, (wrId, flags, result) =>
      this.qp.sends.fetchAdd(0, wrId, flags, remote.address, remote.rkey, add, result.address, result.lkey),
    );
  }

  /**
   * Binds a memory window to a part of a region, under its next key.
   *
   * @param region registered with AccessFlags.MW_BIND
   * @param part `offset` and `length` in bytes within the region (default all of it); `access` that the window gives
   *   (default REMOTE_READ and REMOTE_WRITE)
   * @returns the new rkey, which `window.rkey` is now as well
   * @throws as {@link send}
   * @see ibv_bind_mw(3), IBV_WR_BIND_MW in ibv_post_send(3)
   */
  async bindWindow(
    window: MemoryWindow,
    region: MemoryRegion,
    part: { offset?: number; length?: number; access?: number } = {},
    options: OperationOptions = {},
  ): Promise<number> {
    const { offset = 0, access = AccessFlags.REMOTE_READ | AccessFlags.REMOTE_WRITE } = part;
    const { address, length } = region.piece(offset, part.length);
    const rkey = nextRkey(window.rkey);
    await this.post('bindWindow', options, (wrId, flags) =>
      this.qp.sends.bindWindow(0, wrId, flags, window.number, window.rkey, rkey, region.lkey, address, length, access),
    );
    window.rkey = rkey;
    return rkey;
  }

  /**
   * Makes the key of a memory window of this side invalid.
   *
   * @throws as {@link send}
   * @see ibv_post_send(3), IBV_WR_LOCAL_INV
   */
  async localInvalidate(rkey: number, options: OperationOptions = {}): Promise<void> {
    await this.post('localInvalidate', options, (wrId, flags) => this.qp.sends.localInvalidate(0, wrId, flags, rkey));
  }

  /**
   * Posts one receive.
   *
   * @param pieces where the message goes; none: enough for a WRITE with an immediate
   * @returns when a message has come into it: its length, immediate and sender
   * @throws as {@link send}; status LOCAL_LENGTH_ERROR when the message is longer
   * @see ibv_post_recv(3)
   */
  async receive(pieces: Pieces, options: WaitOptions = {}): Promise<CompletedOperation> {
    const completed = await runReceive(this.receives, this.qp, pieces, options);
    // Drivers say one or the other of connections as well, where verbs gives it no meaning.
    if (this.qp.type !== QpType.UD) {
      completed.hasGrh = false;
      delete completed.sourceQp;
    }
    return completed;
  }

  /** @internal The queue pair has closed. */
  close(): void {
    this.sends.close();
    this.receives.close();
    this.atomics.close();
  }

  private post(
    what: string,
    options: OperationOptions,
    fill: (wrId: number, flags: number) => void,
    ended?: (completed: CompletedOperation | undefined) => void,
  ): Promise<CompletedOperation> {
    let flags: number = SendFlags.SIGNALED;
    if (options.fence) flags |= SendFlags.FENCE;
    if (options.solicited) flags |= SendFlags.SOLICITED;
    if (options.inline) flags |= SendFlags.INLINE;
    const post = (wrId: number) => {
      fill(wrId, flags);
      this.qp.postSend(1);
    };
    return this.sends.run(what, options, post, ended);
  }

  private async atomic(
    what: string,
    options: OperationOptions,
    fill: (wrId: number, flags: number, result: { address: number; lkey: number }) => void,
  ): Promise<bigint> {
    const slot = this.atomics.take();
    let value = 0n;
    await this.post(
      what,
      options,
      (wrId, flags) => fill(wrId, flags, slot),
      () => {
        value = slot.value;
        this.atomics.give(slot);
      },
    );
    return value;
  }
}

/** @internal One receive of a queue pair or shared receive queue. */
export function runReceive(
  queue: OperationQueue,
  target: Pick<QueuePair, 'receives' | 'postReceive'>,
  pieces: Pieces,
  options: WaitOptions,
): Promise<CompletedOperation> {
  const list = listOf(pieces);
  return queue.run('receive', options, (wrId) => {
    target.receives.set(0, wrId, list);
    target.postReceive(1);
  });
}

function listOf(pieces: Pieces): readonly ScatterGather[] {
  const list = Array.isArray(pieces) ? (pieces as readonly ScatterGather[]) : [pieces as ScatterGather];
  if (list.length > MAX_SGE) throw invalidArgument('pieces', pieces, `at most ${MAX_SGE} pieces`);
  for (const piece of list) {
    if (typeof piece !== 'object' || piece === null || !Number.isSafeInteger(piece.address)) {
      throw invalidArgument('pieces', piece, 'pieces as MemoryRegion.piece() makes them');
    }
  }
  return list;
}

function checkBigint(name: string, value: unknown): void {
  if (typeof value !== 'bigint') throw invalidArgument(name, value, 'a bigint');
}
