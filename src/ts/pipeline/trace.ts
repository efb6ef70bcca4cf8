// The history of a request, as records that travel in its messages when it is traced.
//
//   record    0     1            2              3   4               6               8      16      20
//             |kind |from stage+1|to stage+1    | 0 |from instance  |to instance    |bytes |a (f32)|b (f32)|
//             kind 1, a task of `to`: a is how long it waited, b how long it ran, in microseconds; no `from`, no bytes
//             kind 2, a message from `from` to `to`: a is how long it was under way in microseconds, or -1
//             kinds 3 and 4 are in trace-context.ts
//
// Invariant: times are differences of CLOCK_MONOTONIC, which all processes of one host share; a hop between hosts has
// no time that can be trusted. A record appears once, however many paths led here.
import { getCount, MAX_TRACE_BYTES, setCount } from './envelope.js';
import type { JoinedInputs } from './join.js';
import { GATEWAY_INDEX } from './plan.js';
import { REQUEST, RESULT, type WorkflowSpec } from './spec.js';
import { viewOf } from './view.js';

/** One task: a request at a stage instance. */
export interface TaskTrace {
  stage: string;
  instance: number;
  /** From when all inputs were there until the handler began, in microseconds. */
  queueUs: number;
  /** In the handler, in microseconds. */
  computeUs: number;
}

/** One message between places. The request comes from `request`; results go to `result`. */
export interface HopTrace {
  from: string;
  fromInstance: number;
  to: string;
  toInstance: number;
  /** Head, metadata and tensors; also of those that stay in the sender's memory. */
  bytes: number;
  /** From when the sender handed it over until the receiver saw it, in microseconds; undefined between hosts. */
  us: number | undefined;
}

/** What is known of a traced request. */
export interface Trace {
  tasks: TaskTrace[];
  hops: HopTrace[];
}

/** All kinds of records have so many. */
export const RECORD_BYTES = 24;
const TASK = 1;
const HOP = 2;
// Where the fields of a record lie, as drawn above; its kind is at 0.
const FROM_AT = 1;
const TO_AT = 2;
const PAD_AT = 3;
const FROM_INSTANCE_AT = 4;
const TO_INSTANCE_AT = 6;
const BYTES_AT = 8;
const A_AT = 16;
const B_AT = 20;
const NO_RECORDS = new Uint8Array(0);

/** The records of one traced request at one place. */
export class TraceRecords {
  private bytes = new Uint8Array(16 * RECORD_BYTES);
  private view = new DataView(this.bytes.buffer);
  private length = 0;

  /** The records, in bytes; valid until the next one is added. */
  get encoded(): Uint8Array {
    return this.length === 0 ? NO_RECORDS : this.bytes.subarray(0, this.length);
  }

  /** Adds the records of a message; those that are here already are left out, and those beyond the limit. */
  addAll(records: Uint8Array): void {
    for (let at = 0; at + RECORD_BYTES <= records.length; at += RECORD_BYTES) {
      const record = records.subarray(at, at + RECORD_BYTES);
      if (!this.has(record)) this.room()?.set(record);
    }
  }

  // Kind, stages and instances name a record; the first 8 bytes.
  private has(record: Uint8Array): boolean {
    for (let at = 0; at < this.length; at += RECORD_BYTES) {
      let same = true;
      for (let i = 0; i < 8 && same; i++) same = this.bytes[at + i] === record[i];
      if (same) return true;
    }
    return false;
  }

  addTask(stage: number, instance: number, queueUs: number, computeUs: number): void {
    this.add(TASK, GATEWAY_INDEX, 0, stage, instance, 0, queueUs, computeUs);
  }

  /** @param us -1: not known */
  addHop(from: number, fromInstance: number, to: number, toInstance: number, bytes: number, us: number): void {
    this.add(HOP, from, fromInstance, to, toInstance, bytes, us, 0);
  }

  private add(
    kind: number,
    from: number,
    fromInstance: number,
    to: number,
    toInstance: number,
    bytes: number,
    a: number,
    b: number,
  ): void {
    const at = this.length;
    if (this.room() === undefined) return;
    const { view } = this;
    view.setUint8(at, kind);
    view.setUint8(at + FROM_AT, from + 1);
    view.setUint8(at + TO_AT, to + 1);
    view.setUint8(at + PAD_AT, 0);
    view.setUint16(at + FROM_INSTANCE_AT, fromInstance, true);
    view.setUint16(at + TO_INSTANCE_AT, toInstance, true);
    setCount(view, at + BYTES_AT, bytes);
    view.setFloat32(at + A_AT, a, true);
    view.setFloat32(at + B_AT, b, true);
  }

  // Makes room for one record; undefined when there are as many as a message may carry.
  private room(): Uint8Array | undefined {
    const at = this.length;
    if (at + RECORD_BYTES > MAX_TRACE_BYTES) return undefined;
    if (at + RECORD_BYTES > this.bytes.length) {
      const larger = new Uint8Array(2 * this.bytes.length);
      larger.set(this.bytes);
      this.bytes = larger;
      this.view = new DataView(larger.buffer);
    }
    this.length += RECORD_BYTES;
    return this.bytes.subarray(at, at + RECORD_BYTES);
  }
}

/** Adds what came with the inputs of a task, and how they came. */
export function addHops(records: TraceRecords, joined: JoinedInputs, stage: number, instance: number): void {
  for (let i = 0; i < joined.inputs.length; i++) {
    const input = joined.inputs[i];
    if (input === undefined) continue;
    records.addAll(input.records);
    const { fromStage, fromInstance } = input.envelope;
    const bytes = input.bytes + (joined.streams?.[i]?.bytes ?? 0);
    records.addHop(fromStage, fromInstance, stage, instance, bytes, input.hopUs);
  }
}

/** Reads records for people. Records that name a stage the workflow does not have are left out. */
export function readTrace(spec: WorkflowSpec, records: Uint8Array): Trace {
  const trace: Trace = { tasks: [], hops: [] };
  const view = viewOf(records);
  const nameOf = (index: number, gateway: string) => (index === 0 ? gateway : spec.stages[index - 1]?.name);
  for (let at = 0; at + RECORD_BYTES <= records.length; at += RECORD_BYTES) {
    const kind = view.getUint8(at);
    const from = nameOf(view.getUint8(at + FROM_AT), REQUEST);
    const to = nameOf(view.getUint8(at + TO_AT), RESULT);
    const instance = view.getUint16(at + TO_INSTANCE_AT, true);
    const a = view.getFloat32(at + A_AT, true);
    if (from === undefined || to === undefined) continue;
    if (kind === TASK) {
      trace.tasks.push({ stage: to, instance, queueUs: a, computeUs: view.getFloat32(at + B_AT, true) });
    } else if (kind === HOP) {
      const fromInstance = view.getUint16(at + FROM_INSTANCE_AT, true);
      const bytes = getCount(view, at + BYTES_AT);
      trace.hops.push({ from, fromInstance, to, toInstance: instance, bytes, us: a < 0 ? undefined : a });
    }
  }
  return trace;
}
