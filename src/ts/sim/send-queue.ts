// The send queue of a simulated queue pair: from the posting of a request to its completion.
//
// Invariant: requests are carried out in order and each at most once, and a completion follows everything before it.
// The answer comes later, so a queue that ends in between does not know how much of its data has landed.
import { RdmaError } from '../core/errors.js';
import { CompletionOpcode, CompletionStatus, SendFlags, WorkOpcode } from '../verbs/index.js';
import type { SimQueuePair } from './queue-pair.js';
import type { SimEvent } from './scheduler.js';
import { carryOut, overtake, type SimRequest, snapshot } from './work-request.js';

/** From one request to the next, in ms. */
const WIRE_MS = { low: 0.0005, high: 0.5 };
/** Until the requester knows that a request was carried out. */
const ANSWER_MS = { low: 0.0005, high: 0.5 };
/** Until it gives up a peer that does not answer. */
const GIVE_UP_MS = 20;
/** How often the bytes of a WRITE are seen before those of the one before it, where that may be. */
const OVERTAKE_SHARE = 0.3;

const opcodes: Record<number, number> = {
  [WorkOpcode.WRITE]: CompletionOpcode.WRITE,
  [WorkOpcode.WRITE_WITH_IMM]: CompletionOpcode.WRITE,
  [WorkOpcode.READ]: CompletionOpcode.READ,
  [WorkOpcode.COMPARE_SWAP]: CompletionOpcode.COMPARE_SWAP,
  [WorkOpcode.FETCH_ADD]: CompletionOpcode.FETCH_ADD,
};

export class SendQueue {
  private readonly qp: SimQueuePair;
  private readonly depth: number;
  private readonly posted: SimRequest[] = []; // not carried out yet
  private readonly unanswered: SimRequest[] = []; // carried out, and nobody here knows
  private positions = 0; // ever given out
  private freed = 0; // of those, known to be free
  private sending: SimEvent | undefined;
  private answering: SimEvent | undefined;
  private stalledUntilMs = 0;
  private onWire = false; // the queue pair is destroyed; what is still under way comes from the wire alone

  constructor(qp: SimQueuePair, depth: number) {
    this.qp = qp;
    this.depth = depth;
  }

  private get world() {
    return this.qp.domain.device.world;
  }

  // Who carries it out: the device, or the process, which does not copy while it is stopped.
  private get copier() {
    return this.world.options.copier === 'process' ? this.qp.domain.device.process : undefined;
  }

  /** Takes a request, or completes it at once when the queue pair is in ERROR. @throws RdmaError RDMA_ERR_QUEUE_FULL */
  post(request: SimRequest): void {
    if (this.positions - this.freed >= this.depth) {
      throw new RdmaError('RDMA_ERR_QUEUE_FULL', `the send queue of ${this.depth} is full`);
    }
    request.position = ++this.positions;
    if (this.qp.canSend) this.posted.push(request);
    else this.complete(request, CompletionStatus.FLUSHED, 0);
  }

  /** The doorbell. */
  ring(): void {
    this.world.arrange(this.posted);
    this.schedule();
  }

  /** Everything up to this place was polled. */
  freeUpTo(position: number): void {
    if (position > this.freed) this.freed = position;
  }

  /** The network holds back for `ms` what is posted, as congestion and retransmission do. */
  stall(ms: number): void {
    this.stalledUntilMs = this.world.scheduler.nowMs + ms;
  }

  /** Ends: the oldest request completes with `status`, the rest as flushed. */
  flush(status: number): void {
    this.cancel();
    let next = status;
    for (const request of [...this.unanswered.splice(0), ...this.posted.splice(0)]) {
      this.complete(request, next, 0);
      next = CompletionStatus.FLUSHED;
    }
  }

  /** The queue pair is destroyed: some of what a network card has sent out still arrives. False: nothing does. */
  leaveToWire(): boolean {
    const { world, posted } = this;
    this.cancel();
    this.unanswered.length = 0;
    posted.length = world.options.copier === 'device' ? world.choices.pick(posted.length + 1, 'tear') : 0;
    const last = posted.at(-1);
    if (last === undefined) return false;
    for (const request of posted) snapshot(request, this.qp.domain.device.keys);
    this.onWire = true;
    const left = last.length - last.landed;
    if (left > 1 && !world.options.weakOrder && world.choices.chance(0.5, 'tear')) {
      // Of the last one only the first packets are out.
      last.length = last.landed + world.tearAt(left);
      if (last.opcode === WorkOpcode.WRITE_WITH_IMM) last.opcode = WorkOpcode.WRITE;
    }
    this.schedule();
    return true;
  }

  private cancel(): void {
    if (this.sending !== undefined) this.sending.cancelled = true;
    if (this.answering !== undefined) this.answering.cancelled = true;
    this.sending = undefined;
    this.answering = undefined;
  }

  /** Goes on, if there is something to go on with. */
  schedule(): void {
    if (this.sending !== undefined || this.posted.length === 0 || !(this.onWire || this.qp.canSend)) return;
    this.sendIn(this.world.choices.delay(WIRE_MS.low, WIRE_MS.high));
  }

  private sendIn(ms: number): void {
    this.sending = this.world.scheduler.add(ms, this.copier, false, () => {
      this.sending = undefined;
      const stalledMs = this.stalledUntilMs - this.world.scheduler.nowMs;
      if (stalledMs > 0) this.sendIn(stalledMs);
      else this.send();
    });
  }

  private send(): void {
    const { qp, world } = this;
    const request = this.posted[0];
    // A fenced one waits for the answers of all before it; the last answer calls again.
    if (request === undefined || ((request.flags & SendFlags.FENCE) !== 0 && this.unanswered.length > 0)) return;
    const peer = qp.peer;
    if (peer === undefined || !peer.takesFrom(qp)) {
      this.giveUp(request);
      return;
    }
    request.unreachable = false;
    const next = this.posted[1];
    if (world.options.weakOrder && next !== undefined && world.choices.chance(OVERTAKE_SHARE, 'tear')) {
      overtake(request, next, qp, peer);
    }
    const outcome = carryOut(request, qp, peer, world);
    if (outcome === 'more') {
      this.schedule();
    } else if (outcome === 'no-receive') {
      world.onNoReceive(qp, peer);
      peer.waitFor(this);
    } else if (outcome === 'done') {
      this.posted.shift();
      if (!this.onWire) this.unanswered.push(request);
      this.scheduleAnswer();
      this.schedule();
    } else if (this.onWire) {
      this.posted.length = 0;
    } else if (this.unanswered.length === 0) {
      qp.fail(outcome);
    }
    // Else what is before it is answered first; then it is tried again, with the same outcome.
  }

  // The peer does not answer: after a while, and if it still does not, that is said.
  private giveUp(request: SimRequest): void {
    this.qp.leave();
    if (this.onWire) {
      this.posted.length = 0;
    } else if (request.unreachable) {
      this.qp.fail(CompletionStatus.RETRY_EXCEEDED);
    } else {
      request.unreachable = true;
      this.sendIn(GIVE_UP_MS);
    }
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
    const { domain } = this.qp;
    const request = this.unanswered[0];
    if (request === undefined) return;
    const { fetched } = request;
    if (fetched !== undefined) {
      const place = domain.device.keys.find(request.lkey);
      if (place?.domain !== domain || !place.holds(request.address, fetched.length)) {
        this.qp.fail(CompletionStatus.LOCAL_PROTECTION_ERROR);
        return;
      }
      place.view(request.address, fetched.length).set(fetched);
    }
    this.unanswered.shift();
    if ((request.flags & SendFlags.SIGNALED) !== 0) this.complete(request, CompletionStatus.SUCCESS, request.length);
    this.scheduleAnswer();
    this.schedule();
  }

  private complete({ wrId, position, opcode }: SimRequest, status: number, byteLength: number): void {
    const { qp } = this;
    const completed = opcodes[opcode] ?? CompletionOpcode.WRITE;
    qp.cq.push({ qp, wrId, status, opcode: completed, byteLength, imm: 0, flags: 0, sendPosition: position }, false);
  }
}
