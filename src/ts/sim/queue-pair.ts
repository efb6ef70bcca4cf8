// A reliable connected queue pair of the simulated device: its states, its receives, and its send queue.
//
// Invariant: as verbs: requests are carried out in order and each at most once, and a completion follows everything
// before it. Whatever ends a queue pair, of what was posted a prefix has landed, the last of it perhaps in part, and
// the completions do not tell how long that prefix is. Nothing lands after the target's queue pair was destroyed.
import { RdmaError } from '../core/errors.js';
import type { PortMapping, PortQueuePair } from '../ring/port.js';
import {
  AccessFlags,
  CompletionFlags,
  CompletionOpcode,
  CompletionStatus,
  type PortAddress,
  QpState,
  type QueuePairEndpoint,
  SendRequests,
} from '../verbs/index.js';
import type { SimCompletion, SimCompletionQueue } from './completion-queue.js';
import type { SimDomain } from './device.js';
import { SimMapping, type SimRegion, systemError } from './memory.js';
import { SendQueue } from './send-queue.js';
import { readRequest } from './work-request.js';

/** Until a queue pair that was put to ERROR has stopped, where that is asynchronous. */
const SETTLE_MS = { low: 0.0005, high: 0.5 };
/** Until a peer on the same host learns from the system that a process is dead. */
const GONE_MS = { low: 0.01, high: 5 };
/** Most requests that one postSend() can hand down. */
const RECORDS = 64;

export class SimQueuePair implements PortQueuePair {
  readonly qpNum: number;
  readonly sends: SendRequests;
  readonly capabilities: { readonly maxSendWr: number };
  readonly domain: SimDomain;
  readonly cq: SimCompletionQueue;
  /** What the peer may do on this side. */
  access = 0;
  remote: QueuePairEndpoint | undefined;
  closed = false;
  /** The region of a peer that a copy of this queue pair is in the middle of. */
  standsIn: SimRegion | undefined;

  private state: number = QpState.RESET;
  private readonly f64: Float64Array;
  private readonly u32: Uint32Array;
  private readonly u64: BigUint64Array;
  private readonly maxRecvWr: number;
  private receives = 0; // posted and not used
  private readonly queue: SendQueue;
  private settling = false;
  private waiting: SendQueue | undefined; // the peer's, while it waits for a receive here

  constructor(domain: SimDomain, cq: SimCompletionQueue, maxSendWr: number, maxRecvWr: number) {
    this.domain = domain;
    this.cq = cq;
    this.maxRecvWr = maxRecvWr;
    this.capabilities = { maxSendWr };
    this.queue = new SendQueue(this, maxSendWr);
    const records = new ArrayBuffer(128 * (Math.min(RECORDS, maxSendWr) + 1));
    this.sends = new SendRequests(records);
    this.f64 = new Float64Array(records);
    this.u32 = new Uint32Array(records);
    this.u64 = new BigUint64Array(records);
    this.qpNum = domain.device.world.nextQpNum();
    domain.device.addQueuePair(this);
  }

  private get device() {
    return this.domain.device;
  }
  private get world() {
    return this.domain.device.world;
  }

  endpoint(address: PortAddress): QueuePairEndpoint {
    return { qpNum: this.qpNum, psn: this.qpNum & 0xffffff, gid: address.gid, lid: address.lid, mtu: address.mtu };
  }

  // ---- States

  // False: the process is dead. @throws RdmaError RDMA_ERR_CLOSED
  private enter(): boolean {
    const alive = this.device.enter();
    if (alive && this.closed) throw new RdmaError('RDMA_ERR_CLOSED', 'the queue pair is closed');
    return alive;
  }

  private move(from: number, to: number): void {
    if (!this.enter()) return;
    if (this.state !== from) throw systemError('EINVAL', 'ibv_modify_qp', `from state ${this.state} to ${to}`);
    this.state = to;
  }

  toInit(_address: PortAddress, access = 0): void {
    this.move(QpState.RESET, QpState.INIT);
    this.access = access;
  }

  toReadyToReceive(_address: PortAddress, remote: QueuePairEndpoint): void {
    this.move(QpState.INIT, QpState.READY_TO_RECEIVE);
    this.remote = remote;
  }

  toReadyToSend(): void {
    this.move(QpState.READY_TO_RECEIVE, QpState.READY_TO_SEND);
  }

  toError(): void {
    if (!this.enter() || this.state === QpState.ERROR || this.settling) return;
    // A network card stops when it comes round to it; what the process copies itself has stopped now.
    if (this.world.options.copier === 'process' || !this.world.choices.chance(0.5, 'order')) {
      this.fail(CompletionStatus.FLUSHED);
      return;
    }
    this.settling = true;
    const { low, high } = SETTLE_MS;
    this.world.scheduler.add(this.world.choices.delay(low, high), undefined, false, () => {
      if (!this.closed && this.state !== QpState.ERROR) this.fail(CompletionStatus.FLUSHED);
    });
  }

  /** Breaks the connection: the peer cannot be reached any more. */
  cut(): void {
    if (!this.closed && this.state === QpState.READY_TO_SEND) this.fail(CompletionStatus.RETRY_EXCEEDED);
  }

  /** The network holds back for `ms` what is posted here. */
  stall(ms: number): void {
    this.queue.stall(ms);
  }

  /** True while a request of `peer` is taken here. */
  takesFrom(peer: SimQueuePair): boolean {
    const { remote, state } = this;
    if (remote === undefined || (this.closed && this.world.options.flaw !== 'close-leaves-connection')) return false;
    if (this.device.process.state === 'dead') return false;
    if (remote.qpNum !== peer.qpNum || remote.gid !== peer.device.gid) return false;
    return state === QpState.READY_TO_RECEIVE || state === QpState.READY_TO_SEND;
  }

  /** Everything outstanding completes: the oldest request with `status`, the rest as flushed. */
  fail(status: number): void {
    this.state = QpState.ERROR;
    this.leave();
    this.queue.flush(status);
    for (; this.receives > 0; this.receives--) {
      this.cq.push(this.received(CompletionStatus.FLUSHED, 0, 0), false);
    }
    this.wakeWaiting();
  }

  /** Its copy is not in a peer's memory any more. */
  leave(): void {
    if (this.standsIn !== undefined) this.standsIn.inside--;
    this.standsIn = undefined;
  }

  close(): void {
    if (this.closed || !this.device.enter()) return;
    const purges = this.world.options.copier === 'process' || this.world.choices.chance(0.5, 'order');
    if (purges) this.cq.purge(this);
    this.vanish();
    this.domain.queuePairs.delete(this);
  }

  /** Destroys it, or the process with it. What a network card has already sent out may still arrive. */
  vanish(): void {
    if (this.closed) return;
    this.closed = true;
    this.device.removeQueuePair(this);
    this.wakeWaiting();
    if (!this.queue.leaveToWire()) this.leave();
    // On a network card the peer finds out when it sends; a peer on this host learns it from the system.
    if (this.world.options.copier === 'process' && this.device.process.state === 'dead') {
      const { peer } = this;
      const { low, high } = GONE_MS;
      if (peer !== undefined) {
        this.world.scheduler.add(this.world.choices.delay(low, high), undefined, false, () => peer.cut());
      }
    }
  }

  // ---- Posting

  postSend(count: number): number {
    if (!this.enter()) return count;
    if (this.state !== QpState.READY_TO_SEND && this.state !== QpState.ERROR) {
      throw systemError('EINVAL', 'ibv_post_send', `the queue pair is in state ${this.state}`);
    }
    for (let i = 0; i < count; i++) {
      this.world.beforeRequest(this.device.process);
      this.queue.post(readRequest(i, this.f64, this.u32, this.u64));
    }
    this.queue.ring();
    return count;
  }

  postEmptyReceives(count: number): void {
    if (!this.enter()) return;
    if (this.state === QpState.RESET) throw systemError('EINVAL', 'ibv_post_recv', 'the queue pair is in RESET');
    if (this.receives + count > this.maxRecvWr) {
      throw new RdmaError('RDMA_ERR_QUEUE_FULL', `the receive queue of ${this.maxRecvWr} is full`);
    }
    if (this.state === QpState.ERROR) {
      for (let i = 0; i < count; i++) this.cq.push(this.received(CompletionStatus.FLUSHED, 0, 0), false);
      return;
    }
    this.receives += count;
    this.wakeWaiting();
  }

  /** The peer's requests wait for a receive. */
  waitFor(queue: SendQueue): void {
    this.waiting = queue;
  }

  private wakeWaiting(): void {
    const queue = this.waiting;
    this.waiting = undefined;
    queue?.schedule();
  }

  /** A completion of this queue pair was polled: room for sends. */
  polled(completion: SimCompletion): void {
    this.queue.freeUpTo(completion.sendPosition);
  }

  get canSend(): boolean {
    return this.state === QpState.READY_TO_SEND;
  }

  get peer(): SimQueuePair | undefined {
    return this.remote === undefined ? undefined : this.world.findQueuePair(this.remote);
  }

  // ---- Responder

  /** Takes a receive for an immediate; false when none is posted. */
  arrive(imm: number, byteLength: number, solicited: boolean): boolean {
    if (this.receives === 0) return false;
    this.receives--;
    if (!this.closed) this.cq.push(this.received(CompletionStatus.SUCCESS, imm, byteLength), solicited);
    return true;
  }

  private received(status: number, imm: number, byteLength: number): SimCompletion {
    const opcode = CompletionOpcode.RECEIVE_WITH_IMM;
    return { qp: this, wrId: 0, status, opcode, byteLength, imm, flags: CompletionFlags.WITH_IMM, sendPosition: 0 };
  }

  /** A request of the peer was refused: this side ends as well. */
  refuse(): void {
    if (!this.closed && this.state !== QpState.ERROR) this.fail(CompletionStatus.FLUSHED);
  }

  // ---- Shared memory

  mapRemote(address: number, rkey: number, bytes: number): PortMapping {
    this.device.process.checkAlive();
    this.enter();
    if (this.world.options.copier !== 'process') {
      throw systemError('ENOTSUP', 'mmap', 'a network card shares no memory');
    }
    if (this.state !== QpState.READY_TO_SEND) throw systemError('EINVAL', 'mmap', 'the queue pair is not connected');
    const { peer } = this;
    if (!peer?.takesFrom(this)) throw systemError('ENOTCONN', 'mmap', 'the peer is not connected');
    const region = peer.domain.device.keys.find(rkey);
    const rights = AccessFlags.REMOTE_MAP | AccessFlags.REMOTE_WRITE;
    if (
      region === undefined ||
      region.domain !== peer.domain ||
      (region.access & rights) !== rights ||
      !region.holds(address, bytes)
    ) {
      throw systemError('EACCES', 'mmap', 'the peer does not allow it');
    }
    return new SimMapping(this.device, region, address, bytes, this);
  }
}
