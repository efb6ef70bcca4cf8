// Where the time of one request went, as bars on one axis.
//
// Invariant: a trace has durations only. They are laid out forwards, each task behind the last of its inputs, and moved
// so that the result arrives when the request ended; what is left before them is the time at the gateway.
import type { Trace, WorkflowSpec } from '../pipeline/index.js';
import { REQUEST, RESULT } from '../pipeline/index.js';

/**
 * `gateway`: waiting to be admitted, and what the caller's process did. `queue`: waiting at a place with all inputs.
 */
export type SegmentKind = 'gateway' | 'hop' | 'queue' | 'compute';

/** One bar. */
export interface Segment {
  readonly kind: SegmentKind;
  /** Of `hop`: `from → to`; otherwise the place. */
  readonly name: string;
  /** From the start of the request. */
  readonly startUs: number;
  readonly durationUs: number;
}

/**
 * The bars of a request.
 *
 * @param totalUs from its start until its caller had the result
 */
export function timelineOf(spec: WorkflowSpec, trace: Trace, totalUs: number): Segment[] {
  const order = new Map(spec.stages.map(({ name }, i) => [name, i]));
  const tasks = [...trace.tasks].sort((a, b) => (order.get(a.stage) ?? 0) - (order.get(b.stage) ?? 0));
  const ends = new Map<string, number>();
  const laid: Segment[] = [];
  const arrivalAt = (stage: string, instance: number): number => {
    let arrival = 0;
    for (const { from, fromInstance, to, toInstance, us = 0 } of trace.hops) {
      if (to !== stage || toInstance !== instance) continue;
      const sent = from === REQUEST ? 0 : ends.get(`${from}/${fromInstance}`);
      if (sent === undefined) continue;
      arrival = Math.max(arrival, sent + us);
      const source = from === REQUEST ? from : `${from}/${fromInstance}`;
      const target = to === RESULT ? to : `${to}/${toInstance}`;
      laid.push({ kind: 'hop', name: `${source} → ${target}`, startUs: sent, durationUs: us });
    }
    return arrival;
  };
  for (const { stage, instance, queueUs, computeUs } of tasks) {
    const ready = arrivalAt(stage, instance);
    const name = `${stage}/${instance}`;
    if (queueUs > 0) laid.push({ kind: 'queue', name, startUs: ready, durationUs: queueUs });
    laid.push({ kind: 'compute', name, startUs: ready + queueUs, durationUs: computeUs });
    ends.set(name, ready + queueUs + computeUs);
  }
  const gateways = new Set(trace.hops.filter(({ to }) => to === RESULT).map(({ toInstance }) => toInstance));
  let arrival = 0;
  for (const instance of gateways) arrival = Math.max(arrival, arrivalAt(RESULT, instance));
  const offsetUs = Math.max(0, totalUs - arrival);
  const moved = laid.map(({ kind, name, startUs, durationUs }) => {
    return { kind, name, startUs: rounded(startUs + offsetUs), durationUs: rounded(durationUs) };
  });
  moved.sort((a, b) => a.startUs - b.startUs);
  return [{ kind: 'gateway', name: 'gateway', startUs: 0, durationUs: rounded(offsetUs) }, ...moved];
}

// To what a clock can tell: each digit more goes to every listener.
function rounded(us: number): number {
  return Math.round(us * 10) / 10;
}
