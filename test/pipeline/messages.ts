// Messages that no lane carries, for tests of what places make of messages.
//
// Invariant: a message here is encoded by the code that ships, into memory of its own; what is done to it is counted.
import { bodyBytes, checkParts, type Parts, tableBytes, writeBody } from '../../src/ts/pipeline/body.js';
import {
  type Envelope,
  headBytes,
  NO_DEADLINE,
  NO_STREAM,
  readEnvelope,
  writeEnvelope,
} from '../../src/ts/pipeline/envelope.js';
import { Input } from '../../src/ts/pipeline/input.js';
import { encodeMeta, type Meta } from '../../src/ts/pipeline/meta.js';
import type { WorkflowSpec } from '../../src/ts/pipeline/spec.js';
import type { InboxMessage } from '../../src/ts/ring/index.js';

const NO_BYTES = new Uint8Array(0);

/** The head of a message of a workflow with so many stages. */
export function envelope(stages: number, part: Partial<Envelope> = {}): Envelope {
  return {
    flags: 0,
    plan: 1,
    gateway: 0,
    gatewayRun: 77,
    ticket: 1,
    attempt: 1,
    finishedBelow: 0,
    fromStage: -1,
    fromInstance: 0,
    incarnation: 1,
    remainingMs: NO_DEADLINE,
    sentAtUs: 5,
    host: 9,
    queueUs: 0,
    computeUs: 0,
    task: 0,
    piece: NO_STREAM,
    pieces: NO_STREAM,
    route: new Uint16Array(stages),
    runs: new Uint32Array(stages),
    bodyBytes: 0,
    partCount: 0,
    traceBytes: 0,
    tableBytes: 0,
    metaBytes: 0,
    block: undefined,
    ...part,
  };
}

/** A whole message; its lengths follow from its body. */
export function encode(head: Envelope, meta: Meta = {}, parts: Parts = {}, trace: Uint8Array = NO_BYTES): Uint8Array {
  const list = checkParts(parts, undefined);
  const encodedMeta = encodeMeta(meta);
  const at = headBytes(head.runs.length);
  const length = bodyBytes(trace.length, list, encodedMeta.length);
  const message = new Uint8Array(at + length);
  const whole = {
    ...head,
    bodyBytes: length,
    partCount: list.length,
    traceBytes: trace.length,
    tableBytes: tableBytes(list),
    metaBytes: encodedMeta.length,
  };
  writeEnvelope(new DataView(message.buffer), whole);
  writeBody(message, new DataView(message.buffer), at, trace, list, encodedMeta);
  return message;
}

/** A message of no lane, which counts what is done to it. */
export class FakeMessage {
  acknowledged = 0;
  released = 0;
  readonly from = 'test';
  readonly length: number;
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.length = bytes.length;
  }

  release(): void {
    this.released++;
  }

  acknowledge(): void {
    this.acknowledged++;
  }

  map(): undefined {
    return undefined;
  }
}

/** An input that came without a lane, and its message. */
export function inputOf(
  spec: WorkflowSpec,
  head: Partial<Envelope>,
  parts: Parts = {},
): { input: Input; message: FakeMessage } {
  const stages = spec.stages.length;
  const bytes = encode(envelope(stages, head), {}, parts);
  const message = new FakeMessage(bytes);
  const whole = readEnvelope(bytes, new DataView(bytes.buffer), stages);
  return { input: new Input(spec, whole, message as unknown as InboxMessage, 0, true), message };
}
