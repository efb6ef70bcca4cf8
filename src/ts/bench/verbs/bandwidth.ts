// A window of requests that is kept full.
//
// Invariant: no queue pair has more than `txDepth` requests outstanding; of `cqMod` requests, and of all at the end,
// the last is signaled, and its completion covers those before it. Nothing here allocates.
import { performance } from 'node:perf_hooks';
import { SendFlags } from '../../verbs/index.js';
import { Advance, checkCompletion, LOOKS, type Loop, POLL_SPINS, TURN_MS } from '../kit/loop.js';
import type { Receives } from './receives.js';
import { cqModOf, type Verb, type VerbsSettings, verbOf } from './settings.js';
import type { Side } from './side.js';

/** Completions that are taken at once. */
const BATCH = 16;
const CLOCK_MASK = 255;

/** When messages were posted and completed, in milliseconds; empty when the peak is not wanted. */
export interface MessageTimes {
  posted: Float64Array;
  completed: Float64Array;
}

export class Bandwidth implements Loop {
  progress = 0;
  /** Of the messages begun with begin(), in milliseconds. */
  beganAt = 0;
  endedAt = 0;
  private readonly side: Side;
  private readonly settings: VerbsSettings;
  private readonly sizeBytes: number;
  private readonly cqMod: number;
  private readonly flags: number;
  private readonly receives: Receives | undefined;
  private readonly verb: Verb;
  /** The flags that each record was filled with, by queue pair and place in the list. */
  private readonly filled: Int32Array;
  /** By queue pair. */
  private readonly posted: Int32Array;
  private readonly completed: Int32Array;
  private each = 0;
  private totalPosted = 0;
  private totalCompleted = 0;
  private toReceive = 0;
  private times: MessageTimes = { posted: new Float64Array(0), completed: new Float64Array(0) };

  /** @param receives where the other side sends as well */
  constructor(side: Side, settings: VerbsSettings, sizeBytes: number, receives?: Receives) {
    this.side = side;
    this.settings = settings;
    this.sizeBytes = sizeBytes;
    this.receives = receives;
    this.verb = verbOf(settings.test);
    this.cqMod = cqModOf(settings, sizeBytes);
    const isInline = this.verb !== 'read' && sizeBytes <= settings.inlineBytes;
    this.flags = isInline ? SendFlags.INLINE : 0;
    this.posted = new Int32Array(settings.qps);
    this.completed = new Int32Array(settings.qps);
    this.filled = new Int32Array(settings.qps * settings.postList).fill(-1);
  }

  /** The next `each` messages on every queue pair, and as many to receive. */
  begin(each: number, times: MessageTimes): void {
    this.each = each;
    this.times = times;
    this.posted.fill(0);
    this.completed.fill(0);
    this.totalPosted = 0;
    this.totalCompleted = 0;
    this.toReceive = this.receives === undefined ? 0 : each * this.settings.qps;
  }

  advance(): Advance {
    const total = this.each * this.settings.qps;
    const entered = performance.now();
    const turnAt = entered + TURN_MS;
    const limit = this.settings.events ? 1 : POLL_SPINS;
    const looksAtOnce = this.settings.events ? 1 : LOOKS;
    if (this.totalPosted === 0) this.beganAt = entered;
    let looks = 0;
    let rounds = 0;
    while (this.totalCompleted < total || this.toReceive > 0) {
      const posted = this.post();
      const moved = posted + this.complete(posted > 0 ? 1 : looksAtOnce) + this.receive();
      this.progress += moved;
      looks = moved > 0 ? 0 : looks + looksAtOnce;
      if (looks >= limit) return Advance.IDLE;
      if ((++rounds & CLOCK_MASK) === 0 && performance.now() > turnAt) return Advance.TURN;
    }
    return Advance.DONE;
  }

  private post(): number {
    const { each, settings, cqMod, posted, completed, side, times, flags } = this;
    const { postList, txDepth, qps } = settings;
    const before = this.totalPosted;
    for (let qp = 0; qp < qps; qp++) {
      let at = posted[qp]!;
      while (at < each) {
        const count = Math.min(postList, each - at);
        if (at - completed[qp]! + count > txDepth) break;
        for (let i = 0; i < count; i++) {
          const nth = at + i + 1;
          const signaled = nth % cqMod === 0 || nth === each;
          this.fill(qp, i, signaled ? flags | SendFlags.SIGNALED : flags);
        }
        if (times.posted.length > 0) times.posted.fill(performance.now(), this.totalPosted, this.totalPosted + count);
        side.qps[qp]!.postSend(count);
        at += count;
        this.totalPosted += count;
      }
      posted[qp] = at;
    }
    return this.totalPosted - before;
  }

  private complete(looks: number): number {
    const { sendCq } = this.side;
    const { completed, cqMod, each, times } = this;
    const count = sendCq.poll(BATCH, looks);
    if (count === 0) return 0;
    const now = performance.now();
    for (let i = 0; i < count; i++) {
      checkCompletion(sendCq, i);
      const qp = sendCq.completions.wrId(i);
      const done = Math.min(cqMod, each - completed[qp]!);
      completed[qp] = completed[qp]! + done;
      this.totalCompleted += done;
      if (times.completed.length > 0) times.completed[this.totalCompleted - 1] = now;
    }
    this.endedAt = now;
    return count;
  }

  private receive(): number {
    if (this.receives === undefined || this.toReceive === 0) return 0;
    const count = this.receives.take(Math.min(BATCH, this.toReceive));
    this.toReceive -= count;
    return count;
  }

  private fill(qp: number, i: number, flags: number): void {
    const { side, sizeBytes, filled } = this;
    const record = qp * this.settings.postList + i;
    if (filled[record] === flags) return;
    filled[record] = flags;
    const { sends } = side.qps[qp]!;
    const { memory, remote } = side;
    const out = side.outOffset(qp);
    const into = side.intoOffset(qp);
    const from = memory.address + out;
    if (this.verb === 'write') {
      sends.write(i, qp, flags, remote.address + into, remote.rkey, from, sizeBytes, memory.lkey);
    } else if (this.verb === 'read') {
      sends.read(i, qp, flags, remote.address + out, remote.rkey, memory.address + into, sizeBytes, memory.lkey);
    } else {
      sends.send(i, qp, flags, from, sizeBytes, memory.lkey);
    }
  }
}

/** The side that only receives: send-bw in one direction. */
export class ReceiveOnly implements Loop {
  progress = 0;
  private readonly receives: Receives;
  private readonly limit: number;
  private left = 0;

  constructor(receives: Receives, sleeps: boolean) {
    this.receives = receives;
    this.limit = sleeps ? 1 : POLL_SPINS;
  }

  begin(messages: number): void {
    this.left = messages;
  }

  advance(): Advance {
    const turnAt = performance.now() + TURN_MS;
    const looksAtOnce = Math.min(LOOKS, this.limit);
    let looks = 0;
    let rounds = 0;
    while (this.left > 0) {
      const count = this.receives.take(Math.min(BATCH, this.left), looksAtOnce);
      this.left -= count;
      this.progress += count;
      looks = count > 0 ? 0 : looks + looksAtOnce;
      if (looks >= this.limit) return Advance.IDLE;
      if ((++rounds & CLOCK_MASK) === 0 && performance.now() > turnAt) return Advance.TURN;
    }
    return Advance.DONE;
  }
}
