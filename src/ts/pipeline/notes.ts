// The small messages between places and gateways beside the data: the outcome of tasks, and the requests that have
// ended.
//
//   every note     0        4     5  6   8            10        12           16
//                  |"OPM4"  |kind | 0| 0 |stage+1     |instance |gateway run |records or body
//
//   REPORTS, place to gateway, records of 32 bytes     0     4        8       16       20         24
//                                                      |what |attempt |ticket |queue us|compute us|progress (f64)|
//   ENDED, gateway to place, records of 16 bytes       0        8        12
//                                                      |ticket  |attempt | 0 |
//   COMING, place or gateway to place: nothing more; a message is about to come
//   FAILURE, place to gateway: one record as in REPORTS, then JSON { code, message, retryable }
//   PROGRESS, place to gateway: one record as in REPORTS, then what progress-note.ts says
//
// Invariant: notes come from another process; a note that is not of exactly this form is refused whole.
import { RdmaError } from '../core/errors.js';
import { getCount, Kind, refused, setCount, writePrefix } from './envelope.js';

/** What a place says of a task: it began, it made progress, it has ended, or its inputs are not complete yet. */
export const Report = { STARTED: 1, PROGRESS: 2, DONE: 3, INCOMPLETE: 4 } as const;

// Where the fields lie, as drawn above: of the head of a note, behind its prefix,
const STAGE_AT = 8;
const INSTANCE_AT = 10;
const GATEWAY_RUN_AT = 12;
// of a record of REPORTS, behind what it says, which is at 0,
const ATTEMPT_AT = 4;
const TICKET_AT = 8;
const QUEUE_US_AT = 16;
const COMPUTE_US_AT = 20;
const PROGRESS_AT = 24;
// and of a record of ENDED, behind its ticket, which is at 0.
const ENDED_ATTEMPT_AT = 8;

export const HEAD_BYTES = 16;
export const REPORT_BYTES = 32;
const ENDED_BYTES = 16;
/** Records of one note; more are sent as several notes. */
export const MAX_RECORDS = 24;
const MAX_FAILURE_CHARS = 2000;

/** Why a task failed, as its stage says. */
export interface StageFailure {
  readonly code: string;
  readonly message: string;
  /** The request may be tried again; not there: it may not. */
  readonly retryable?: true;
}

/** Who sends a note, and to which run of a gateway it belongs. */
export interface NoteHead {
  /** Index of the stage, or GATEWAY_INDEX. */
  readonly stage: number;
  readonly instance: number;
  readonly gatewayRun: number;
}

/** Collects records for one gateway; the encoded note is valid until the next record. */
export class ReportWriter {
  readonly bytes = new Uint8Array(HEAD_BYTES + MAX_RECORDS * REPORT_BYTES);
  private readonly view = new DataView(this.bytes.buffer);
  private length = HEAD_BYTES;

  /** The gateway that the records are for. */
  readonly gateway: number;
  private readonly gatewayRun: number;

  /**
   * @param stage of the place that reports, and `instance`
   * @param gateway the gateway's number, and its run
   */
  constructor(stage: number, instance: number, gateway: number, gatewayRun: number) {
    this.gateway = gateway;
    this.gatewayRun = gatewayRun;
    writeHead(this.view, Kind.REPORTS, { stage, instance, gatewayRun });
  }

  isFor(gateway: number, gatewayRun: number): boolean {
    return this.gateway === gateway && this.gatewayRun === gatewayRun;
  }

  get isEmpty(): boolean {
    return this.length === HEAD_BYTES;
  }

  get isFull(): boolean {
    return this.length === this.bytes.length;
  }

  /** Adds a record; there is room unless {@link ReportWriter.isFull}. */
  add(what: number, ticket: number, attempt: number, queueUs = 0, computeUs = 0, progress = 0): void {
    writeReport(this.view, this.length, what, ticket, attempt, queueUs, computeUs, progress);
    this.length += REPORT_BYTES;
  }

  /** The note so far; the next record begins a new one. */
  take(): Uint8Array {
    const note = this.bytes.subarray(0, this.length);
    this.length = HEAD_BYTES;
    return note;
  }
}

/** Writes the head of a note. */
export function writeHead(view: DataView, kind: number, { stage, instance, gatewayRun }: NoteHead): void {
  writePrefix(view, kind);
  view.setUint16(STAGE_AT, stage + 1, true);
  view.setUint16(INSTANCE_AT, instance, true);
  view.setUint32(GATEWAY_RUN_AT, gatewayRun, true);
}

/** Writes a record of a report. */
export function writeReport(
  view: DataView,
  at: number,
  what: number,
  ticket: number,
  attempt: number,
  queueUs: number,
  computeUs: number,
  progress: number,
): void {
  view.setUint32(at, what, true);
  view.setUint32(at + ATTEMPT_AT, attempt, true);
  setCount(view, at + TICKET_AT, ticket);
  view.setFloat32(at + QUEUE_US_AT, queueUs, true);
  view.setFloat32(at + COMPUTE_US_AT, computeUs, true);
  view.setFloat64(at + PROGRESS_AT, progress, true);
}

/** A record of a report, read. */
export interface ReportRecord {
  readonly what: number;
  readonly ticket: number;
  readonly attempt: number;
  readonly queueUs: number;
  readonly computeUs: number;
  readonly progress: number;
}

/** Reads who sent a note. @throws RdmaError RDMA_ERR_PROTOCOL */
export function readNoteHead(bytes: Uint8Array, view: DataView, stages: number): NoteHead {
  if (bytes.length < HEAD_BYTES) throw refused('the note is shorter than its head');
  const stage = view.getUint16(STAGE_AT, true) - 1;
  if (stage >= stages) throw refused('the sender of the note is no stage of the workflow');
  return { stage, instance: view.getUint16(INSTANCE_AT, true), gatewayRun: view.getUint32(GATEWAY_RUN_AT, true) };
}

/** Reads the records of REPORTS. @throws RdmaError RDMA_ERR_PROTOCOL */
export function readReports(bytes: Uint8Array, view: DataView): ReportRecord[] {
  return readRecords(bytes, REPORT_BYTES, (at) => readReport(view, at));
}

/** Reads a record of a report. @throws RdmaError RDMA_ERR_PROTOCOL */
export function readReport(view: DataView, at: number): ReportRecord {
  const record = {
    what: view.getUint32(at, true),
    attempt: view.getUint32(at + ATTEMPT_AT, true),
    ticket: getCount(view, at + TICKET_AT),
    queueUs: view.getFloat32(at + QUEUE_US_AT, true),
    computeUs: view.getFloat32(at + COMPUTE_US_AT, true),
    progress: view.getFloat64(at + PROGRESS_AT, true),
  };
  const { what, ticket, queueUs, computeUs, progress } = record;
  const isKnown = what >= Report.STARTED && what <= Report.INCOMPLETE;
  if (!isKnown || !(ticket >= 0) || !(queueUs >= 0) || !(computeUs >= 0) || !(progress >= 0 && progress <= 1)) {
    throw refused('a record of the note is wrong');
  }
  return record;
}

function readRecords<T>(bytes: Uint8Array, size: number, read: (at: number) => T): T[] {
  const room = bytes.length - HEAD_BYTES;
  if (room === 0 || room % size !== 0) throw refused('the note does not end with a record');
  const records: T[] = [];
  for (let at = HEAD_BYTES; at < bytes.length; at += size) records.push(read(at));
  return records;
}

/** A note that a message is about to come. */
export function encodeComing(from: NoteHead): Uint8Array {
  const bytes = new Uint8Array(HEAD_BYTES);
  writeHead(new DataView(bytes.buffer), Kind.COMING, from);
  return bytes;
}

/** A note that a request has ended at its gateway. */
export function encodeEnded(gateway: NoteHead, ticket: number, attempt: number): Uint8Array {
  const bytes = new Uint8Array(HEAD_BYTES + ENDED_BYTES);
  const view = new DataView(bytes.buffer);
  writeHead(view, Kind.ENDED, gateway);
  setCount(view, HEAD_BYTES, ticket);
  view.setUint32(HEAD_BYTES + ENDED_ATTEMPT_AT, attempt, true);
  return bytes;
}

/** Reads the records of ENDED. @throws RdmaError RDMA_ERR_PROTOCOL */
export function readEnded(bytes: Uint8Array, view: DataView): { ticket: number; attempt: number }[] {
  return readRecords(bytes, ENDED_BYTES, (at) => {
    const ticket = getCount(view, at);
    if (!(ticket >= 0)) throw refused('a ticket of the note is out of range');
    return { ticket, attempt: view.getUint32(at + ENDED_ATTEMPT_AT, true) };
  });
}

/**
 * A note that a task has failed.
 *
 * @param limitBytes bytes that the note may have, at least 512; a message that is too long for it is cut
 */
export function encodeFailure(
  from: NoteHead,
  ticket: number,
  attempt: number,
  failure: StageFailure,
  limitBytes = Number.POSITIVE_INFINITY,
): Uint8Array {
  const code = failure.code.slice(0, 64);
  let message = failure.message.slice(0, MAX_FAILURE_CHARS);
  const { retryable } = failure;
  let json = failureBytes(code, message, retryable);
  // A character may take six bytes: it is halved until it fits.
  while (HEAD_BYTES + REPORT_BYTES + json.length > limitBytes && message.length > 0) {
    message = message.slice(0, message.length >> 1);
    json = failureBytes(code, message, retryable);
  }
  const bytes = new Uint8Array(HEAD_BYTES + REPORT_BYTES + json.length);
  const view = new DataView(bytes.buffer);
  writeHead(view, Kind.FAILURE, from);
  writeReport(view, HEAD_BYTES, Report.DONE, ticket, attempt, 0, 0, 0);
  bytes.set(json, HEAD_BYTES + REPORT_BYTES);
  return bytes;
}

function failureBytes(code: string, message: string, retryable: true | undefined): Buffer {
  return Buffer.from(JSON.stringify({ code, message, retryable }), 'utf8');
}

/** Reads a FAILURE. @throws RdmaError RDMA_ERR_PROTOCOL */
export function readFailure(
  bytes: Uint8Array,
  view: DataView,
): { ticket: number; attempt: number; failure: StageFailure } {
  const at = HEAD_BYTES + REPORT_BYTES;
  if (bytes.length <= at) throw refused('the failure has no words');
  const { ticket, attempt } = readReport(view, HEAD_BYTES);
  let document: unknown;
  try {
    document = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset + at, bytes.length - at).toString('utf8'));
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_PROTOCOL', 'a failure is not JSON', { cause });
  }
  const { code, message, retryable } = Object(document) as Partial<StageFailure>;
  if (typeof code !== 'string' || typeof message !== 'string') throw refused('the failure has no code or no message');
  return { ticket, attempt, failure: retryable === true ? { code, message, retryable } : { code, message } };
}
