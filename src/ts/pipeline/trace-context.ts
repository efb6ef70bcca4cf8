// The trace of other systems that a request belongs to: the header `traceparent` of W3C Trace Context, and records that
// travel with a traced request.
//
//   record    0     1          8                                16               24
//             | 3  | zeros     | identity of the trace, 16 bytes                  |
//             | 4  | zeros     | identity of the span, 8 bytes    |flags| zeros    |
//
// Invariant: a malformed header counts as missing: the recommendation has receivers start a new trace then, never fail.
import { RECORD_BYTES } from './trace.js';

/**
 * Names a trace of other systems, as W3C Trace Context has it in headers. One that is not well formed is passed over.
 */
export interface TraceContext {
  traceparent: string;
  tracestate?: string;
}

/** What a traceparent says. */
export interface RemoteSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceFlags: number;
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/**
 * Reads a traceparent.
 *
 * @returns undefined when it is not one
 * @see W3C Trace Context, 3.2 Traceparent Header
 */
export function readTraceparent(header: unknown): RemoteSpan | undefined {
  if (typeof header !== 'string') return undefined;
  const [, version, traceId, spanId, flags, rest] = TRACEPARENT.exec(header.trim()) ?? [];
  if (version === undefined || traceId === undefined || spanId === undefined || flags === undefined) return undefined;
  // Later versions may have more behind the flags; this one has not.
  if (version === 'ff' || (version === '00' && rest !== undefined)) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16) };
}

/** Writes a traceparent of version 00. */
export function writeTraceparent({ traceId, spanId, traceFlags }: RemoteSpan): string {
  return `00-${traceId}-${spanId}-${(traceFlags & 0xff).toString(16).padStart(2, '0')}`;
}

const TRACE_ID = 3;
const SPAN_ID = 4;
const FLAGS_AT = 16;
const DATA_AT = 8;

/** The records of a trace context. */
export function contextRecords({ traceId, spanId, traceFlags }: RemoteSpan): Uint8Array {
  const records = Buffer.alloc(2 * RECORD_BYTES);
  records[0] = TRACE_ID;
  records.write(traceId, DATA_AT, 'hex');
  records[RECORD_BYTES] = SPAN_ID;
  records.write(spanId, RECORD_BYTES + DATA_AT, 'hex');
  records[RECORD_BYTES + FLAGS_AT] = traceFlags;
  return records;
}

/** The trace context among the records of a request; undefined when there is none. */
export function readContextRecords(records: Uint8Array): RemoteSpan | undefined {
  let traceId: string | undefined;
  let span: { spanId: string; traceFlags: number } | undefined;
  for (let at = 0; at + RECORD_BYTES <= records.length; at += RECORD_BYTES) {
    const kind = records[at];
    if (kind !== TRACE_ID && kind !== SPAN_ID) continue;
    const data = Buffer.from(records.buffer, records.byteOffset + at, RECORD_BYTES);
    if (kind === TRACE_ID) traceId = data.toString('hex', DATA_AT, RECORD_BYTES);
    else span = { spanId: data.toString('hex', DATA_AT, FLAGS_AT), traceFlags: data[FLAGS_AT]! };
  }
  return traceId === undefined || span === undefined ? undefined : { traceId, ...span };
}
