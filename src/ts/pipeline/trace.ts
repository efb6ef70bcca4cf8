// What happened to a request, carried along in its messages.
//
// Invariant: times are differences of CLOCK_MONOTONIC, which all processes of one host share; a hop between hosts has
// no time that can be trusted and says null.

/** One task: a request at a stage instance. */
export interface TaskTrace {
  stage: string;
  instance: number;
  /** From when all inputs were there until the handler began, in microseconds. */
  queueUs: number;
  /** In the handler, in microseconds. */
  computeUs: number;
}

/** One message between stages. */
export interface HopTrace {
  from: string;
  fromInstance: number;
  to: string;
  toInstance: number;
  bytes: number;
  /** From when the sender began to send until the receiver saw the message, in microseconds. */
  us: number;
  /** The device that carried it. */
  device: string;
}

/** What is known of a request; with more than {@link MAX_TRACE_BYTES} of it, the oldest is left out. */
export interface Trace {
  tasks: TaskTrace[];
  hops: HopTrace[];
}

/** The most that a trace takes in a message, as JSON. */
export const MAX_TRACE_BYTES = 128 * 1024;
const SMALL_TRACE = 256; // entries that fit in any case

/** CLOCK_MONOTONIC in microseconds. */
export function monotonicUs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e6 + nanoseconds / 1e3;
}

/** The traces of several inputs as one; what came twice is there once. */
export function mergeTraces(traces: readonly Trace[]): Trace {
  const tasks = new Map<string, TaskTrace>();
  const hops = new Map<string, HopTrace>();
  for (const trace of traces) {
    for (const task of trace.tasks) tasks.set(`${task.stage}/${task.instance}`, task);
    for (const hop of trace.hops) hops.set(`${hop.from}/${hop.fromInstance}/${hop.to}/${hop.toInstance}`, hop);
  }
  return { tasks: [...tasks.values()], hops: [...hops.values()] };
}

/** The trace, or as much of its newest part as a message has room for. */
export function boundTrace(trace: Trace): Trace {
  if (trace.tasks.length + trace.hops.length <= SMALL_TRACE) return trace;
  const tasks = newest(trace.tasks, MAX_TRACE_BYTES / 2);
  return { tasks, hops: newest(trace.hops, MAX_TRACE_BYTES / 2) };
}

function newest<T>(entries: readonly T[], bytes: number): T[] {
  let left = bytes;
  let first = entries.length;
  while (first > 0) {
    left -= JSON.stringify(entries[first - 1]).length + 1;
    if (left < 0) break;
    first--;
  }
  return entries.slice(first);
}
