// A completion queue of the simulated device, and its channel.
//
// Invariant: as in ibv_req_notify_cq(3), an event comes for a completion that arrives after the arming, and for none
// that was there before; completions of one queue pair keep their order. One too many is a defect and ends the run.
import { RdmaError } from '../core/errors.js';
import type { PortCompletionQueue } from '../ring/port.js';
import { Completions } from '../verbs/index.js';
import type { SimDevice } from './device.js';
import { systemError } from './memory.js';
import type { SimQueuePair } from './queue-pair.js';
import { SimDefect, type SimEvent } from './scheduler.js';

/** How long a process takes to wake up, in ms. */
const WAKE_MS = { low: 0.002, high: 1 };
const RECORD_BYTES = 64;

/** What is in a completion. */
export interface SimCompletion {
  qp: SimQueuePair;
  wrId: number;
  status: number;
  opcode: number;
  byteLength: number;
  imm: number;
  flags: number;
  /** The place in the send queue up to which this makes room; 0 for a receive. */
  sendPosition: number;
}

/** Calls the process when a queue that is armed gets a completion. */
export class SimCompletionChannel {
  private event: SimEvent | undefined;
  private closed = false;
  private readonly device: SimDevice;
  private readonly onEvent: () => void;

  constructor(device: SimDevice, onEvent: () => void) {
    this.device = device;
    this.onEvent = onEvent;
    device.objects.add(this);
  }

  notify(): void {
    if (this.event !== undefined || this.closed) return;
    const { world, process } = this.device;
    this.event = process.later(world.choices.delay(WAKE_MS.low, WAKE_MS.high), () => {
      this.event = undefined;
      if (!this.closed) this.onEvent();
    });
  }

  close(): void {
    this.closed = true;
    this.device.objects.delete(this);
  }
}

export class SimCompletionQueue implements PortCompletionQueue {
  readonly completions: Completions;
  readonly capacity: number;
  closed = false;
  private readonly device: SimDevice;
  private readonly channel: SimCompletionChannel | undefined;
  private readonly f64: Float64Array;
  private readonly u32: Uint32Array;
  private entries: SimCompletion[] = [];
  private justArmed = false;
  private armed: 'no' | 'all' | 'solicited' = 'no';

  constructor(device: SimDevice, capacity: number, channel: SimCompletionChannel | undefined) {
    this.device = device;
    this.capacity = capacity;
    this.channel = channel;
    const records = new ArrayBuffer(RECORD_BYTES * device.world.options.pollBatch);
    this.completions = new Completions(records);
    this.f64 = new Float64Array(records);
    this.u32 = new Uint32Array(records);
    device.objects.add(this);
  }

  push(completion: SimCompletion, solicited: boolean): void {
    if (this.closed) return;
    if (this.entries.length >= this.capacity) {
      throw new SimDefect(`the completion queue of ${this.device.process.name} overruns its ${this.capacity} entries`);
    }
    this.entries.push(completion);
    if (this.armed === 'no' || (this.armed === 'solicited' && !solicited && completion.status === 0)) return;
    this.armed = 'no';
    this.channel?.notify();
  }

  /** Forgets what a queue pair has left here, as some devices do when it is destroyed. */
  purge(qp: SimQueuePair): void {
    this.entries = this.entries.filter((entry) => entry.qp !== qp);
  }

  poll(max = 256): number {
    if (this.closed) throw new RdmaError('RDMA_ERR_CLOSED', 'the completion queue is closed');
    if (!this.device.enter()) return 0;
    if (this.justArmed) {
      this.justArmed = false;
      if (this.device.world.options.flaw === 'blind-after-arming') return 0;
    }
    const count = Math.min(max, this.entries.length, this.completions.capacity);
    for (let i = 0; i < count; i++) {
      const entry = this.entries[i]!;
      const u = i * 16;
      this.f64[i * 8] = entry.wrId;
      this.u32[u + 2] = entry.status;
      this.u32[u + 3] = entry.opcode;
      this.u32[u + 4] = entry.byteLength;
      this.u32[u + 5] = entry.imm;
      this.u32[u + 6] = entry.qp.qpNum;
      this.u32[u + 7] = entry.flags;
      entry.qp.polled(entry);
    }
    if (count > 0) this.entries.splice(0, count);
    return count;
  }

  requestNotify(solicitedOnly = false): void {
    if (this.closed) throw new RdmaError('RDMA_ERR_CLOSED', 'the completion queue is closed');
    if (!this.device.enter()) return;
    this.justArmed = true;
    if (this.channel === undefined) throw systemError('EINVAL', 'ibv_req_notify_cq', 'the queue has no channel');
    // Armed for all stays so: a weaker request does not take it back.
    if (!solicitedOnly) this.armed = 'all';
    else if (this.armed === 'no') this.armed = 'solicited';
  }

  close(): void {
    if (this.closed || this.device.process.state === 'dead') return;
    this.closed = true;
    for (const qp of this.device.queuePairsOf(this)) qp.close();
    this.entries.length = 0;
    this.device.objects.delete(this);
  }
}
