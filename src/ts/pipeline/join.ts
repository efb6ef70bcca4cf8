// Bringing together what belongs to one request: the inputs of a task, or the outputs of the last stages.
//
// Invariant: every message is acknowledged exactly when its request is settled, a copy that came again because a
// sender was replaced included; no input is counted twice. A request that was settled stays known for a while, so
// that a late copy is acknowledged and not worked on again.
import { RdmaError } from '../core/errors.js';
import type { InboxMessage } from '../ring/index.js';
import type { Parts } from './codec.js';
import { decodeMessage } from './codec.js';
import { type Envelope, parseEnvelope, type StageFailure } from './envelope.js';
import { copyTensor, type Tensor } from './tensor.js';
import { mergeTraces, monotonicUs, type Trace } from './trace.js';
import { instancesFor, REQUEST, type Stage, type StageInput, type Workflow } from './workflow.js';

const REMEMBERED_REQUESTS = 4096;

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
      const parts: Record<string, Tensor> = {};
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
  private readonly settled = new Set<string>();

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

  /**
   * Takes a message.
   *
   * @returns the request when this message has completed it, else undefined
   * @throws RdmaError RDMA_ERR_PROTOCOL when it does not belong here; it was released and acknowledged then
   */
  take(message: InboxMessage): Joined | undefined {
    const arrivedAtUs = monotonicUs();
    let envelope: Envelope;
    let parts: Record<string, Tensor>;
    let joined: Joined | undefined;
    const key = (e: Envelope) => `${e.from}/${e.fromInstance}`;
    try {
      const decoded = decodeMessage(message.bytes);
      envelope = parseEnvelope(decoded.head);
      parts = decoded.parts;
      if (envelope.workflow !== this.workflow.name) {
        throw new RdmaError('RDMA_ERR_PROTOCOL', `a message of workflow ${envelope.workflow} came to ${this.place}`);
      }
      joined = this.open.get(envelope.request);
      if (joined === undefined && !this.settled.has(envelope.request)) {
        joined = new Joined(envelope, this.expected(envelope.ticket));
      }
      if (joined !== undefined && !joined.expects(key(envelope))) {
        throw new RdmaError('RDMA_ERR_PROTOCOL', `${key(envelope)} does not send to ${this.place}/${this.instance}`);
      }
    } catch (error) {
      message.done();
      throw error;
    }
    if (joined === undefined) {
      message.done(); // settled: a copy that came late
      return undefined;
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
    joined.add(key(envelope), envelope, parts, message);
    if (joined.complete && !before) {
      joined.readyAtUs = arrivedAtUs;
      return joined;
    }
    if (!joined.complete && crowded(message)) {
      for (const other of this.open.values()) if (!other.complete) other.spill();
    }
    return undefined;
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
    this.settled.add(joined.request);
    for (const oldest of this.settled) {
      if (this.settled.size <= REMEMBERED_REQUESTS) break;
      this.settled.delete(oldest);
    }
  }
}

// Waiting inputs may hold at most half of a lane: whatever order senders finish in, the input that is missing still
// finds room.
function crowded(message: InboxMessage): boolean {
  return message.laneHeldBytes * 2 > message.laneBytes || message.laneHeldMessages * 2 > message.laneSlots;
}

/** Names of the stages and instances that `stage` sends to with this ticket. */
export function targetsOf(workflow: Workflow, from: string, ticket: number): { stage: Stage; instance: number }[] {
  return workflow
    .followers(from)
    .flatMap((stage) => instancesFor(stage, ticket).map((instance) => ({ stage, instance })));
}
