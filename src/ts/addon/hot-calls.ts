// The calls of the hot path.
//
// Invariant: arguments and answer stand in a frame that native code reads and writes, since a call without arguments
// costs a quarter of one with two; the handle is stored last, because storing another value can run the code of whoever
// gave it. A call allocates nothing and answers a count or a negative errno.
import { native, type NativeAddon } from './native.js';

/** Words of CallFrame in src/native/addon/environment.h. */
const HANDLE = 0;
const COUNT = 1;
const MAX = 2;
const LOOKS = 3;
const STAMP = 4;
const ANSWER = 5;
/** In units of 8 bytes. */
const STAMP_MS = 3;

/** The calls that post and poll, of this thread. */
export class HotCalls {
  private readonly frame: Int32Array;
  private readonly times: Float64Array;
  // Here rather than in the addon's exports, whose properties are looked up in a table.
  private readonly nativePostSend: () => void;
  private readonly nativePostReceive: () => void;
  private readonly nativePostSharedReceive: () => void;
  private readonly nativePollCq: () => void;
  private readonly nativePostSendAndPoll: () => void;
  private readonly nativeRequestNotify: () => void;
  private readonly nativeClock: () => void;
  private readonly nativeYield: () => void;

  constructor(addon: NativeAddon) {
    this.frame = new Int32Array(addon.frame);
    this.times = new Float64Array(addon.frame);
    this.nativePostSend = addon.postSend;
    this.nativePostReceive = addon.postReceive;
    this.nativePostSharedReceive = addon.postSharedReceive;
    this.nativePollCq = addon.pollCq;
    this.nativePostSendAndPoll = addon.postSendAndPoll;
    this.nativeRequestNotify = addon.requestNotify;
    this.nativeClock = addon.clock;
    this.nativeYield = addon.yield;
  }

  /** The first `count` send records of a queue pair. @returns `count`, or a negative errno */
  postSend(qp: number, count: number): number {
    const { frame } = this;
    frame[COUNT] = count;
    frame[HANDLE] = qp;
    this.nativePostSend();
    return frame[ANSWER]!;
  }

  /** The first `count` receive records of a queue pair. @returns `count`, or a negative errno */
  postReceive(qp: number, count: number): number {
    const { frame } = this;
    frame[COUNT] = count;
    frame[HANDLE] = qp;
    this.nativePostReceive();
    return frame[ANSWER]!;
  }

  /** The first `count` records of a shared receive queue. @returns `count`, or a negative errno */
  postSharedReceive(srq: number, count: number): number {
    const { frame } = this;
    frame[COUNT] = count;
    frame[HANDLE] = srq;
    this.nativePostSharedReceive();
    return frame[ANSWER]!;
  }

  /** At most `max` completions, looking up to `looks` times for the first. @returns how many, or a negative errno */
  pollCq(cq: number, max: number, looks: number): number {
    const { frame } = this;
    frame[MAX] = max;
    frame[LOOKS] = looks;
    frame[HANDLE] = cq;
    this.nativePollCq();
    return frame[ANSWER]!;
  }

  /**
   * postSend(), and pollCq() of the queue of its sends if all were posted.
   *
   * @param stamp 1: `stampMs` becomes the time before the post; 0: it stays
   * @returns how many completions, or a negative errno
   */
  postSendAndPoll(qp: number, count: number, max: number, looks: number, stamp: number): number {
    const { frame } = this;
    frame[COUNT] = count;
    frame[MAX] = max;
    frame[LOOKS] = looks;
    frame[STAMP] = stamp;
    frame[HANDLE] = qp;
    this.nativePostSendAndPoll();
    return frame[ANSWER]!;
  }

  /** The time of the last stamp, in milliseconds of CLOCK_MONOTONIC. */
  get stampMs(): number {
    return this.times[STAMP_MS]!;
  }

  /** Stamps now. @returns milliseconds of CLOCK_MONOTONIC */
  clockMs(): number {
    this.nativeClock();
    return this.times[STAMP_MS]!;
  }

  /** Lets whoever waits for this processor have it (sched_yield(2)). */
  yieldProcessor(): void {
    this.nativeYield();
  }

  /** Arms a completion queue. @param solicitedOnly 1 or 0 @returns 0, or a negative errno */
  requestNotify(cq: number, solicitedOnly: number): number {
    const { frame } = this;
    frame[COUNT] = solicitedOnly;
    frame[HANDLE] = cq;
    this.nativeRequestNotify();
    return frame[ANSWER]!;
  }
}

let calls: HotCalls | undefined;

/**
 * The one of this thread.
 *
 * @throws RdmaError RDMA_ERR_NATIVE_MISSING
 */
export function hotCalls(): HotCalls {
  calls ??= new HotCalls(native());
  return calls;
}
