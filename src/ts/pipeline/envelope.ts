// The fixed head of a message between places, in binary. Everything is little-endian.
//
//    0        4     5      6       8     12       14           16           20       24      32
//   |"OPM4"  |kind |flags |stages |plan |gateway |from stage+1|gateway run |attempt |ticket |
//   32              40             42          44           48            52           56          60
//   |finished below |from instance |part count |incarnation |remaining ms |trace bytes |meta bytes |table bytes |
//   64          72          80        84          88                                       124   128
//   |body bytes |sent at us |queue us |compute us |reference to the block of the body (36) |host |
//   128     132   136
//   |piece  |task |route: u16 for each stage | pad to 4 | runs: u32 for each stage | pad to 64 | body, unless it lies in a block
//
// The body is described in body.ts. `runs` has, for each stage whose output went into this message, the run that made
// it (lineage.ts); 0 for the others. `task` is the task of the sending process that made the message. `piece` is the
// number of a piece of a stream (PIECE), or the number of pieces in the stream that this output closes (CLOSES);
// otherwise 0.
//
// Invariant: every field is checked before it is used: after readEnvelope() all numbers are sane, and the body lies
// inside the message or in one block.
import { RdmaError } from '../core/errors.js';
import type { MemoryReference } from '../ring/index.js';
import { MAX_META_BYTES } from './meta.js';
import { GATEWAY_INDEX } from './plan.js';
import { MAX_PIECES, MAX_STAGES } from './spec.js';

/** What a message is: the input of a task (or a result), or one of the notes between places and gateways. */
export const Kind = { INPUT: 1, FAILURE: 2, REPORTS: 3, ENDED: 4, COMING: 5, PROGRESS: 6 } as const;

/**
 * TRACED: each place adds its record. WATCHED: the gateway wants to know of starts and progress. IN_BLOCK: the body is
 * in a block. PIECE: a piece of a stream. CLOSES: the output that closes a stream.
 */
export const Flag = { TRACED: 1, WATCHED: 2, IN_BLOCK: 4, PIECE: 8, CLOSES: 16 } as const;

/** Bytes of a reference to a block. */
export const REFERENCE_BYTES = 40;
/** Bytes of the part of the head that is always there. */
export const FIXED_HEAD_BYTES = 136;
/** Bodies and the parts in them start on a multiple of this. */
export const ALIGN_BYTES = 64;
/** The most parts of a message. */
export const MAX_PARTS = 64;
/** The most bytes of trace records in a message. */
export const MAX_TRACE_BYTES = 1024 * 24;
/** The most bytes of a table of parts. */
export const MAX_TABLE_BYTES = MAX_PARTS * 512;
/** In `piece` and `pieces`: it is none, and closes no stream. */
export const NO_STREAM = -1;
/** In `remainingMs`: there is no deadline. */
export const NO_DEADLINE = 0xffffffff;

// Where the fields of the head lie, as drawn above. The magic number is at 0.
const KIND_AT = 4;
const FLAGS_AT = 5;
const STAGES_AT = 6;
const PLAN_AT = 8;
const GATEWAY_AT = 12;
const FROM_STAGE_AT = 14;
const GATEWAY_RUN_AT = 16;
const ATTEMPT_AT = 20;
const TICKET_AT = 24;
const FINISHED_BELOW_AT = 32;
const FROM_INSTANCE_AT = 40;
const PART_COUNT_AT = 42;
const INCARNATION_AT = 44;
const REMAINING_MS_AT = 48;
const TRACE_BYTES_AT = 52;
const META_BYTES_AT = 56;
const TABLE_BYTES_AT = 60;
const BODY_BYTES_AT = 64;
const SENT_US_AT = 72;
const QUEUE_US_AT = 80;
const COMPUTE_US_AT = 84;
const BLOCK_AT = 88;
const HOST_AT = 124;
const PIECE_AT = 128;
const TASK_AT = 132;
/** Flags that belong to one message, not to its request. */
const OWN_FLAGS = Flag.IN_BLOCK | Flag.PIECE | Flag.CLOSES;
const MAGIC = 0x344d504f; // "OPM4"
const HIGH = 2 ** 32;
const MAX_BODY_BYTES = 2 ** 31;

/** The head of a message of kind INPUT. */
export interface Envelope {
  flags: number;
  plan: number;
  /** Number of the gateway that admitted the request, and of its run. */
  gateway: number;
  gatewayRun: number;
  /** The request's number at that gateway. */
  ticket: number;
  /** Which admission of the request this is: 1, 2 ... */
  attempt: number;
  /** Every request of this gateway with a smaller ticket has ended. */
  finishedBelow: number;
  /** The sender: its stage's index or `GATEWAY_INDEX`, its instance, and which process in that place it is. */
  fromStage: number;
  fromInstance: number;
  incarnation: number;
  /** Ms until the deadline when it was sent; {@link NO_DEADLINE}. */
  remainingMs: number;
  /** CLOCK_MONOTONIC when it was sent, in microseconds, and the host whose clock that is. */
  sentAtUs: number;
  host: number;
  /** Of the task that made it: how long it waited and ran, in microseconds. */
  queueUs: number;
  computeUs: number;
  /** Which task of the sending process made it, 1 ...; 0: it is a request. A later run of a task has a larger one. */
  task: number;
  /** Number of the piece in its stream, 0 ...; {@link NO_STREAM}: it is none. */
  piece: number;
  /** How many pieces the stream had that this output closes; {@link NO_STREAM}: it closes none. */
  pieces: number;
  route: Uint16Array;
  runs: Uint32Array;
  /** The body, and where it lies when it is not behind the head. */
  bodyBytes: number;
  partCount: number;
  traceBytes: number;
  tableBytes: number;
  metaBytes: number;
  block: MemoryReference | undefined;
}

/** Bytes of the head of a message of a workflow with so many stages; the body begins there. */
export function headBytes(stages: number): number {
  const runsAt = runsOffset(stages);
  return (runsAt + stages * 4 + ALIGN_BYTES - 1) & -ALIGN_BYTES;
}

function runsOffset(stages: number): number {
  return (FIXED_HEAD_BYTES + stages * 2 + 3) & -4;
}

/** Writes a whole number below 2^53 as 8 bytes. */
export function setCount(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, (value - (value >>> 0)) / HIGH, true);
}

/** Reads a whole number of 8 bytes; beyond 2^53 it is NaN, which no check lets pass. */
export function getCount(view: DataView, at: number): number {
  const high = view.getUint32(at + 4, true);
  return high < 0x200000 ? high * HIGH + view.getUint32(at, true) : Number.NaN;
}

// The fields of a reference to a block; its address is at 0.
const SEGMENT_ADDRESS_AT = 8;
const SEGMENT_BYTES_AT = 16;
const SEGMENT_AT = 24;
const RKEY_AT = 32;
const PAD_AT = 36;

/** Writes a reference to a block. */
export function setReference(view: DataView, at: number, block: MemoryReference): void {
  setCount(view, at, block.address);
  setCount(view, at + SEGMENT_ADDRESS_AT, block.segmentAddress);
  setCount(view, at + SEGMENT_BYTES_AT, block.segmentBytes);
  setCount(view, at + SEGMENT_AT, block.segment);
  view.setUint32(at + RKEY_AT, block.rkey, true);
  view.setUint32(at + PAD_AT, 0, true);
}

/** Reads a reference to a block of `length` bytes. Its numbers are the sender's: map() and read() check them. */
export function getReference(view: DataView, at: number, length: number): MemoryReference {
  return {
    address: getCount(view, at),
    segmentAddress: getCount(view, at + SEGMENT_ADDRESS_AT),
    segmentBytes: getCount(view, at + SEGMENT_BYTES_AT),
    segment: getCount(view, at + SEGMENT_AT),
    rkey: view.getUint32(at + RKEY_AT, true),
    length,
  };
}

/** Writes the head of a message of kind INPUT at the beginning of `view`; answers its bytes. */
export function writeEnvelope(view: DataView, envelope: Envelope): number {
  const { route, runs, block, piece, pieces } = envelope;
  const stages = runs.length;
  let flags = envelope.flags & ~OWN_FLAGS;
  if (block !== undefined) flags |= Flag.IN_BLOCK;
  if (piece !== NO_STREAM) flags |= Flag.PIECE;
  else if (pieces !== NO_STREAM) flags |= Flag.CLOSES;
  view.setUint32(0, MAGIC, true);
  view.setUint8(KIND_AT, Kind.INPUT);
  view.setUint8(FLAGS_AT, flags);
  view.setUint16(STAGES_AT, stages, true);
  view.setUint32(PLAN_AT, envelope.plan, true);
  view.setUint16(GATEWAY_AT, envelope.gateway, true);
  view.setUint16(FROM_STAGE_AT, envelope.fromStage + 1, true);
  view.setUint32(GATEWAY_RUN_AT, envelope.gatewayRun, true);
  view.setUint32(ATTEMPT_AT, envelope.attempt, true);
  setCount(view, TICKET_AT, envelope.ticket);
  setCount(view, FINISHED_BELOW_AT, envelope.finishedBelow);
  view.setUint16(FROM_INSTANCE_AT, envelope.fromInstance, true);
  view.setUint16(PART_COUNT_AT, envelope.partCount, true);
  view.setUint32(INCARNATION_AT, envelope.incarnation, true);
  view.setUint32(REMAINING_MS_AT, envelope.remainingMs, true);
  view.setUint32(TRACE_BYTES_AT, envelope.traceBytes, true);
  view.setUint32(META_BYTES_AT, envelope.metaBytes, true);
  view.setUint32(TABLE_BYTES_AT, envelope.tableBytes, true);
  setCount(view, BODY_BYTES_AT, envelope.bodyBytes);
  view.setFloat64(SENT_US_AT, envelope.sentAtUs, true);
  view.setFloat32(QUEUE_US_AT, envelope.queueUs, true);
  view.setFloat32(COMPUTE_US_AT, envelope.computeUs, true);
  if (block === undefined) for (let at = BLOCK_AT; at < HOST_AT; at += 4) view.setUint32(at, 0, true);
  else setReference(view, BLOCK_AT, block);
  view.setUint32(HOST_AT, envelope.host, true);
  view.setUint32(PIECE_AT, piece !== NO_STREAM ? piece : pieces !== NO_STREAM ? pieces : 0, true);
  view.setUint32(TASK_AT, envelope.task, true);
  const runsAt = runsOffset(stages);
  view.setUint16(runsAt - 2, 0, true);
  for (let i = 0; i < stages; i++) view.setUint16(FIXED_HEAD_BYTES + 2 * i, route[i]!, true);
  for (let i = 0; i < stages; i++) view.setUint32(runsAt + 4 * i, runs[i]!, true);
  const end = headBytes(stages);
  for (let at = runsAt + 4 * stages; at < end; at += 4) view.setUint32(at, 0, true);
  return end;
}

/** The kind of a message. @throws RdmaError RDMA_ERR_PROTOCOL when it is not one of this version */
export function kindOf(bytes: Uint8Array, view: DataView): number {
  if (bytes.byteLength < 8) throw refused('it is shorter than its prefix');
  const magic = view.getUint32(0, true);
  if (magic !== MAGIC) {
    const isOther = (magic & 0xffffff) === (MAGIC & 0xffffff);
    throw refused(
      isOther ? 'it is of another version: every place must run the same release' : 'its magic number is wrong',
    );
  }
  return view.getUint8(KIND_AT);
}

/** Writes the prefix that every kind of message begins with, 8 bytes. */
export function writePrefix(view: DataView, kind: number): void {
  view.setUint32(0, MAGIC, true);
  view.setUint8(KIND_AT, kind);
  view.setUint8(FLAGS_AT, 0);
  view.setUint16(STAGES_AT, 0, true);
}

/**
 * Reads the head of a message of kind INPUT.
 *
 * @param bytes the message; `route` and `runs` are views of it
 * @param stages how many stages the workflow has
 * @throws RdmaError RDMA_ERR_PROTOCOL when it is not such a message
 */
export function readEnvelope(bytes: Uint8Array, view: DataView, stages: number): Envelope {
  const end = headBytes(stages);
  if (bytes.byteLength < end) throw refused('it is shorter than its head');
  if (view.getUint16(STAGES_AT, true) !== stages || stages > MAX_STAGES) throw refused('it is of another workflow');
  const flags = view.getUint8(FLAGS_AT);
  const isInBlock = (flags & Flag.IN_BLOCK) !== 0;
  const bodyBytes = getCount(view, BODY_BYTES_AT);
  const traceBytes = view.getUint32(TRACE_BYTES_AT, true);
  const metaBytes = view.getUint32(META_BYTES_AT, true);
  const tableBytes = view.getUint32(TABLE_BYTES_AT, true);
  const partCount = view.getUint16(PART_COUNT_AT, true);
  const fromStage = view.getUint16(FROM_STAGE_AT, true) - 1;
  const ticket = getCount(view, TICKET_AT);
  const finishedBelow = getCount(view, FINISHED_BELOW_AT);
  const sentAtUs = view.getFloat64(SENT_US_AT, true);
  if (fromStage < GATEWAY_INDEX || fromStage >= stages) throw refused('its sender is no stage of the workflow');
  if (!(ticket >= 0 && finishedBelow >= 0)) throw refused('its ticket is out of range');
  if (!(bodyBytes <= MAX_BODY_BYTES)) throw refused('its body is too long');
  if (!isInBlock && bytes.byteLength !== end + bodyBytes) throw refused('its length is not that of its body');
  if (isInBlock && (bytes.byteLength !== end || bodyBytes === 0)) throw refused('bytes follow its head');
  const isSane = partCount <= MAX_PARTS && traceBytes <= MAX_TRACE_BYTES && tableBytes <= MAX_TABLE_BYTES;
  if (!isSane || metaBytes > MAX_META_BYTES) throw refused('a part of its body is too long');
  if (traceBytes + tableBytes + metaBytes > bodyBytes) throw refused('its body is shorter than its parts');
  if (!Number.isFinite(sentAtUs)) throw refused('it has no time');
  const isPiece = (flags & Flag.PIECE) !== 0;
  const closes = (flags & Flag.CLOSES) !== 0;
  const number = view.getUint32(PIECE_AT, true);
  if (isPiece && closes) throw refused('it is a piece of a stream, and closes it');
  if (number > (isPiece ? MAX_PIECES - 1 : closes ? MAX_PIECES : 0)) throw refused('its piece is out of range');
  if ((isPiece || closes) && fromStage === GATEWAY_INDEX) throw refused('gateways have no streams');
  return {
    flags: flags & ~OWN_FLAGS,
    plan: view.getUint32(PLAN_AT, true),
    gateway: view.getUint16(GATEWAY_AT, true),
    gatewayRun: view.getUint32(GATEWAY_RUN_AT, true),
    attempt: view.getUint32(ATTEMPT_AT, true),
    ticket,
    finishedBelow,
    fromStage,
    fromInstance: view.getUint16(FROM_INSTANCE_AT, true),
    incarnation: view.getUint32(INCARNATION_AT, true),
    remainingMs: view.getUint32(REMAINING_MS_AT, true),
    sentAtUs,
    host: view.getUint32(HOST_AT, true),
    queueUs: view.getFloat32(QUEUE_US_AT, true),
    computeUs: view.getFloat32(COMPUTE_US_AT, true),
    task: view.getUint32(TASK_AT, true),
    piece: isPiece ? number : NO_STREAM,
    pieces: closes ? number : NO_STREAM,
    route: new Uint16Array(bytes.buffer, bytes.byteOffset + FIXED_HEAD_BYTES, stages),
    runs: new Uint32Array(bytes.buffer, bytes.byteOffset + runsOffset(stages), stages),
    bodyBytes,
    partCount,
    traceBytes,
    tableBytes,
    metaBytes,
    block: isInBlock ? getReference(view, BLOCK_AT, bodyBytes) : undefined,
  };
}

/** The error for bytes that are not a message of this pipeline. */
export function refused(why: string): RdmaError {
  return new RdmaError('RDMA_ERR_PROTOCOL', `not a message of this pipeline: ${why}`);
}
