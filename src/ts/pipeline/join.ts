// Bringing together what belongs to one request: the inputs of a task, or the outputs of the last stages.
//
// Invariant: every message is acknowledged exactly when its request is settled, a copy that came again because a
// sender was replaced included; no input is counted twice. A request that was settled stays known until the proxy has
// its result, so that a late copy is acknowledged and not worked on again. What waits for an input that will not come,
// since its sender had the acknowledgement before this place was replaced, is let go when the proxy has the result.
import { RdmaError } from '../core/errors.js';
import type { InboxMessage } from '../ring/index.js';
import type { Parts } from './codec.js';
import { decodeMessage } from './codec.js';
import { type Envelope, parseEnvelope, type StageFailure } from './envelope.js';
import { SHORT_LANE_BYTES } from './lane-sizes.js';
import { copyTensor, type Tensor } from './tensor.js';
import { mergeTraces, monotonicUs, type Trace } from './trace.js';
import { instancesFor, REQUEST, type StageInput, type Workflow } from './workflow.js';

const byKey = (e: Envelope) => `${e.from}/${e.fromInstance}`;

/** One input, still in the lane or copied out of it. */
interface JoinedInput extends StageInput {
  parts: Parts;
  message: InboxMessage | undefined; // until it is released
}

/** All that has come for one request. */
export class Joined {
  readonly request: string;
  readonly ticket: number;
  readonly deadlineAt: number | null;
  readonly inputs = new Map<string, JoinedInput>();
  failure: StageFailure | undefined;
  /** Sends of this task that are not acknowledged yet; the task is settled at 0. */
  outstanding = 0;
  readyAtUs = 0;
  private readonly traces: Trace[] = [];
  private readonly owed: InboxMessage[] = [];
  private readonly missing: Set<string>;

  constructor(envelope: Envelope, expected: Iterable<string>) {
    this.request = envelope.request;
    this.ticket = envelope.ticket;
    this.deadlineAt = envelope.deadlineAt;
    this.missing = new Set(expected);
  }

  get complete(): boolean {
    return this.missing.size === 0;
  }

  expects(key: string): boolean {
    return this.missing.has(key) || this.inputs.has(key);
  }

  /** Takes an input; a second one with the same key is only owed its acknowledgement. */
  add(key: string, envelope: Envelope, parts: Record<string, Tensor>, message: InboxMessage): void {
    this.owed.push(message);
    if (this.inputs.has(key)) {
      message.release();
      return;
    }
    this.missing.delete(key);
    this.inputs.set(key, {
      stage: envelope.from,
      instance: envelope.fromInstance,
      meta: envelope.meta,
      parts,
      message,
    });
    this.traces.push(envelope.trace);
    this.failure ??= envelope.error ?? undefined;
  }

  /** Copies what lies in lanes out of them, so that waiting does not hold space that others need. */
  spill(): void {
    for (const input of this.inputs.values()) {
      if (input.message === undefined) continue;
      const parts: Record<string, Tensor> = Object.create(null);
      for (const [name, part] of Object.entries(input.parts)) parts[name] = copyTensor(part);
      input.parts = parts;
      input.message.release();
      input.message = undefined;
    }
  }

  /** The views of the inputs are not needed any more. */
  release(): void {
    for (const input of this.inputs.values()) {
      input.message?.release();
      input.message = undefined;
      input.parts = {};
    }
  }

  acknowledge(): void {
    for (const message of this.owed) message.acknowledge();
    this.owed.length = 0;
  }

  get trace(): Trace {
    return mergeTraces(this.traces);
  }

  /** The inputs from `stage`, by instance. */
  from(stage: string): StageInput[] {
    return [...this.inputs.values()].filter((i) => i.stage === stage).sort((a, b) => a.instance - b.instance);
  }
}

/** The requests that one place (a stage instance, or the proxy) is collecting for. */
export class Join {
  private readonly workflow: Workflow;
  private readonly place: string;
  private readonly instance: number;
  private readonly sources: readonly string[];
  private readonly device: string;
  private readonly open = new Map<string, Joined>();
  private readonly settled = new Map<string, number>(); // request to ticket
  private answeredBelow = 0;

  /** @param sources names of the stages (or `request`) that send here */
  constructor(workflow: Workflow, place: string, instance: number, sources: readonly string[], device: string) {
    this.workflow = workflow;
    this.place = place;
    this.instance = instance;
    this.sources = sources;
    this.device = device;
  }

  get size(): number {
    return this.open.size;
  }

  /** Every request with a smaller ticket was answered by the proxy, as far as is known here. */
  get finishedBelow(): number {
    return this.answeredBelow;
  }

  /**
   * Takes a message.
   *
   * @returns the request when this message has completed it, else undefined
   * @throws RdmaError RDMA_ERR_PROTOCOL when it does not belong here; it was released and acknowledged then
   */
  take(message: InboxMessage): Joined | undefined {
    let completed: Joined | undefined;
    try {
      completed = this.accept(message);
    } catch (error) {
      message.done();
      throw error;
    }
    // Also when this message waits for nothing: behind one that waits, its space does not go back to the sender.
    if (crowded(message)) this.spillWaiting();
    return completed;
  }

  private accept(message: InboxMessage): Joined | undefined {
    const arrivedAtUs = monotonicUs();
    const { head, parts } = decodeMessage(message.bytes);
    const envelope = parseEnvelope(head);
    if (envelope.workflow !== this.workflow.name) {
      throw new RdmaError('RDMA_ERR_PROTOCOL', `a message of workflow ${envelope.workflow} came to ${this.place}`);
    }
    this.finish(envelope.finishedBelow);
    let joined = this.open.get(envelope.request);
    if (joined === undefined) {
      if (this.settled.has(envelope.request) || envelope.ticket < this.answeredBelow) {
        message.done(); // a copy that came late
        return undefined;
      }
      joined = new Joined(envelope, this.expected(envelope.ticket));
    }
    const key = byKey(envelope);
    if (!joined.expects(key)) {
      throw new RdmaError('RDMA_ERR_PROTOCOL', `${key} does not send to ${this.place}/${this.instance}`);
    }
    envelope.trace.hops.push({
      from: envelope.from,
      fromInstance: envelope.fromInstance,
      to: this.place,
      toInstance: this.instance,
      bytes: message.bytes.byteLength,
      us: arrivedAtUs - envelope.sentAtUs,
      device: this.device,
    });
    this.open.set(envelope.request, joined);
    const before = joined.complete;
    joined.add(key, envelope, parts, message);
    if (before || !joined.complete) return undefined;
    joined.readyAtUs = arrivedAtUs;
    return joined;
  }

  private spillWaiting(): void {
    try {
      for (const joined of this.open.values()) if (!joined.complete) joined.spill();
    } catch {
      // No memory for the copy now: it stays in its lane, and the next message brings another attempt.
    }
  }

  /** Learns that every request with a ticket smaller than `below` was answered by the proxy. */
  finish(below: number): void {
    if (below <= this.answeredBelow) return;
    this.answeredBelow = below;
    for (const joined of this.open.values()) if (!joined.complete && joined.ticket < below) this.settle(joined);
    for (const [request, ticket] of this.settled) if (ticket < below) this.settled.delete(request);
  }

  private expected(ticket: number): string[] {
    return this.sources.flatMap((source) =>
      source === REQUEST
        ? [`${REQUEST}/0`]
        : instancesFor(this.workflow.get(source), ticket).map((instance) => `${source}/${instance}`),
    );
  }

  /** The request is finished here: its messages are acknowledged, and late copies will be. */
  settle(joined: Joined): void {
    joined.release();
    joined.acknowledge();
    this.open.delete(joined.request);
    if (joined.ticket >= this.answeredBelow) this.settled.set(joined.request, joined.ticket);
  }
}

// True when the next message of the largest size might find no room: a third of the lane, and a third that may have to
// be skipped where the ring ends. Whatever order senders finish in, the input that is missing must still find room.
function crowded(message: InboxMessage): boolean {
  const { laneHeldBytes, laneBytes, laneHeldMessages, laneSlots } = message;
  return laneHeldBytes * 3 > laneBytes || laneBytes >= SHORT_LANE_BYTES || laneHeldMessages * 2 > laneSlots;
}

/** The places (`stage/0`) that `from` sends to with this ticket; none for a last stage. */
export function targetsOf(workflow: Workflow, from: string, ticket: number): string[] {
  return workflow
    .followers(from)
    .flatMap((stage) => instancesFor(stage, ticket).map((instance) => `${stage.name}/${instance}`));
}

/** The places that `from` sends to with any ticket. */
export function allTargetsOf(workflow: Workflow, from: string): string[] {
  return workflow
    .followers(from)
    .flatMap((stage) => Array.from({ length: stage.instances }, (_, instance) => `${stage.name}/${instance}`));
}
