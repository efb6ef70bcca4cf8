// A reliable connected queue pair of the simulated device: the requester's side and the responder's in one object.
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
  SendFlags,
  SendRequests,
  WorkOpcode,
} from '../verbs/index.js';
import type { SimCompletion, SimCompletionQueue } from './completion-queue.js';
import type { SimDomain } from './device.js';
import { SimMapping, type SimRegion, systemError } from './memory.js';
import type { SimEvent } from './scheduler.js';
import { carryOut, type Outcome, readRequest, type SimRequest, snapshot } from './work-request.js';

/** From one request to the next, in ms. */
const WIRE_MS = { low: 0.0005, high: 0.5 };
/** Until the requester knows that a request was carried out. */
const ANSWER_MS = { low: 0.0005, high: 0.5 };
/** Until it gives up a peer that does not answer. */
const GIVE_UP_MS = 20;
/** Until a queue pair that was put to ERROR has stopped, where that is asynchronous. */
const SETTLE_MS = { low: 0.0005, high: 0.5 };
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
  /** The region of a peer in which a copy of this queue pair stands. */
  standsIn: SimRegion | undefined;

  private state: number = QpState.RESET;
  private readonly f64: Float64Array;
  private readonly u32: Uint32Array;
  private readonly u64: BigUint64Array;
  private readonly maxRecvWr: number;
  private receives = 0; // posted and not used
  private readonly posted: SimRequest[] = []; // not carried out yet
  private readonly unanswered: SimRequest[] = []; // carried out, and nobody here knows
  private positions = 0; // of the send queue, ever given out
  private freed = 0; // of those, known to be free
  private sending: SimEvent | undefined;
  private answering: SimEvent | undefined;
  private settling = false;
  private waiting: SimQueuePair | undefined; // the peer, while it waits for a receive here
  private stalledUntilMs = 0;
  private vanished = false; // destroyed; what is still under way comes from the wire alone

  constructor(domain: SimDomain, cq: SimCompletionQueue, maxSendWr: number, maxRecvWr: number) {
    this.domain = domain;
    this.cq = cq;
    this.maxRecvWr = maxRecvWr;
    this.capabilities = { maxSendWr };
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
    if (alive && this.closed) throw new RdmaError('RDMA_ERR_CLOSED', 'QueuePair is closed');
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

  /** The network holds back for `ms` what is posted here, as congestion and retransmission do. */
  stall(ms: number): void {
    this.stalledUntilMs = this.world.scheduler.nowMs + ms;
  }

  /** True while a request of `peer` is taken here. */
  takesFrom(peer: SimQueuePair): boolean {
    const { remote, state } = this;
    if (remote === undefined || (this.closed && this.world.options.flaw !== 'close-leaves-connection')) return false;
    if (this.device.process.state === 'dead') return false;
    if (remote.qpNum !== peer.qpNum || remote.gid !== peer.device.gid) return false;
    return state === QpState.READY_TO_RECEIVE || state === QpState.READY_TO_SEND;
  }

  // Everything outstanding completes: the oldest with `status`, the rest as flushed.
  private fail(status: number): void {
    this.state = QpState.ERROR;
    this.leave();
    this.cancel();
    let next = status;
    for (const request of [...this.unanswered.splice(0), ...this.posted.splice(0)]) {
      this.complete(request, next, 0);
      next = CompletionStatus.FLUSHED;
    }
    for (; this.receives > 0; this.receives--) {
      this.cq.push(this.received(CompletionStatus.FLUSHED, 0, 0), false);
    }
    this.wakeWaiting();
  }

  private cancel(): void {
    if (this.sending !== undefined) this.sending.cancelled = true;
    if (this.answering !== undefined) this.answering.cancelled = true;
    this.sending = undefined;
    this.answering = undefined;
  }

  private leave(): void {
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
    this.cancel();
    this.unanswered.length = 0;
    this.device.removeQueuePair(this);
    this.wakeWaiting();
    const sent = this.world.options.copier === 'device' ? this.world.choices.pick(this.posted.length + 1, 'tear') : 0;
    if (sent === 0) this.leave();
    this.posted.length = sent;
    for (const request of this.posted) snapshot(request, this.device.keys);
    this.vanished = true;
    if (sent > 0) {
      const last = this.posted[sent - 1]!;
      const left = last.length - last.landed;
      if (left > 1 && this.world.choices.chance(0.5, 'tear')) {
        // Of the last one only the first packets are out.
        last.length = last.landed + this.world.tearAt(left);
        if (last.opcode === WorkOpcode.WRITE_WITH_IMM) last.opcode = WorkOpcode.WRITE;
      }
      this.scheduleSend();
    }
    // On a network card the peer finds out when it sends; a peer on this host is told by the system.
    if (this.world.options.copier === 'process' && this.device.process.state === 'dead') {
      const peer = this.peer();
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
      if (this.positions - this.freed >= this.capabilities.maxSendWr) {
        throw new RdmaError('RDMA_ERR_QUEUE_FULL', `the send queue of ${this.capabilities.maxSendWr} is full`);
      }
      const request = readRequest(i, this.f64, this.u32, this.u64);
      request.position = ++this.positions;
      if (this.state === QpState.ERROR) this.complete(request, CompletionStatus.FLUSHED, 0);
      else this.posted.push(request);
    }
    this.world.arrange(this.posted);
    this.scheduleSend();
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

  private wakeWaiting(): void {
    const peer = this.waiting;
    this.waiting = undefined;
    peer?.scheduleSend();
  }

  /** A completion of this queue pair was polled: room for sends. */
  polled(completion: SimCompletion): void {
    if (completion.sendPosition > this.freed) this.freed = completion.sendPosition;
  }

  // ---- Requester

  private peer(): SimQueuePair | undefined {
    return this.remote === undefined ? undefined : this.world.findQueuePair(this.remote);
  }

  private scheduleSend(): void {
    if (this.sending !== undefined || this.posted.length === 0) return;
    if (!this.vanished && this.state !== QpState.READY_TO_SEND) return;
    const { choices, options, scheduler } = this.world;
    // A process that copies itself does not copy while it is stopped.
    const owner = options.copier === 'process' ? this.device.process : undefined;
    this.sending = scheduler.add(choices.delay(WIRE_MS.low, WIRE_MS.high), owner, false, () => {
      this.sending = undefined;
      this.send();
    });
  }

  private send(): void {
    const request = this.posted[0];
    if (request === undefined) return;
    const stalledMs = this.stalledUntilMs - this.world.scheduler.nowMs;
    if (stalledMs > 0) {
      this.wait(stalledMs);
      return;
    }
    const fenced = (request.flags & SendFlags.FENCE) !== 0 && this.unanswered.length > 0;
    if (fenced) return; // the answer calls again
    const peer = this.peer();
    if (peer === undefined || !peer.takesFrom(this)) {
      this.giveUp(request);
      return;
    }
    request.unreachable = false;
    const outcome: Outcome = carryOut(request, this, peer, this.world);
    if (outcome === 'more') {
      this.scheduleSend();
    } else if (outcome === 'no-receive') {
      this.world.onNoReceive(this, peer);
      peer.waiting = this;
    } else if (outcome === 'done') {
      this.posted.shift();
      if (!this.vanished) {
        this.unanswered.push(request);
        this.scheduleAnswer();
      }
      this.scheduleSend();
    } else if (this.vanished) {
      this.posted.length = 0;
    } else if (this.unanswered.length > 0) {
      // What is before it is answered first; then it is tried again, with the same outcome.
      return;
    } else {
      this.fail(outcome);
    }
  }

  // The peer does not answer: after a while, and if it still does not, that is said.
  private giveUp(request: SimRequest): void {
    this.leave();
    if (this.vanished) {
      this.posted.length = 0;
      return;
    }
    if (request.unreachable) {
      this.fail(CompletionStatus.RETRY_EXCEEDED);
      return;
    }
    request.unreachable = true;
    this.wait(GIVE_UP_MS);
  }

  private wait(ms: number): void {
    this.sending = this.world.scheduler.add(ms, undefined, false, () => {
      this.sending = undefined;
      this.send();
    });
  }

  private scheduleAnswer(): void {
    if (this.answering !== undefined || this.unanswered.length === 0) return;
    const delayMs = this.world.choices.delay(ANSWER_MS.low, ANSWER_MS.high);
    this.answering = this.world.scheduler.add(delayMs, undefined, false, () => {
      this.answering = undefined;
      this.answer();
    });
  }

  private answer(): void {
    const request = this.unanswered.shift();
    if (request === undefined) return;
    if (request.fetched !== undefined) {
      const place = this.device.keys.find(request.lkey);
      if (place?.domain !== this.domain || !place.holds(request.address, request.fetched.length)) {
        this.unanswered.unshift(request);
        this.fail(CompletionStatus.LOCAL_PROTECTION_ERROR);
        return;
      }
      place.view(request.address, request.fetched.length).set(request.fetched);
    }
    if ((request.flags & SendFlags.SIGNALED) !== 0) {
      this.complete(request, CompletionStatus.SUCCESS, request.length);
    }
    this.scheduleAnswer();
    this.scheduleSend();
  }

  private complete(request: SimRequest, status: number, byteLength: number): void {
    const { wrId, position } = request;
    const opcode = sendOpcodes[request.opcode] ?? CompletionOpcode.WRITE;
    this.cq.push({ qp: this, wrId, status, opcode, byteLength, imm: 0, flags: 0, sendPosition: position }, false);
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
    const peer = this.peer();
    const region = peer?.takesFrom(this) ? peer.domain.device.keys.find(rkey) : undefined;
    const rights = AccessFlags.REMOTE_MAP | AccessFlags.REMOTE_WRITE;
    if (
      region === undefined ||
      region.domain !== peer?.domain ||
      (region.access & rights) !== rights ||
      !region.holds(address, bytes)
    ) {
      throw systemError('EACCES', 'mmap', 'the peer does not allow it');
    }
    return new SimMapping(this.device, region, address, bytes, this);
  }
}

/** Until the system has told a peer on the same host that a process is dead. */
const GONE_MS = { low: 0.01, high: 5 };

const sendOpcodes: Record<number, number> = {
  [WorkOpcode.WRITE]: CompletionOpcode.WRITE,
  [WorkOpcode.WRITE_WITH_IMM]: CompletionOpcode.WRITE,
  [WorkOpcode.READ]: CompletionOpcode.READ,
  [WorkOpcode.COMPARE_SWAP]: CompletionOpcode.COMPARE_SWAP,
  [WorkOpcode.FETCH_ADD]: CompletionOpcode.FETCH_ADD,
};
