// Requests and results as bytes, for stores: metadata and tensors, with a head of their own. Everything is
// little-endian.
//
//   0        4        5     6         8                  12  16          64
//   |"OPJB"  |version |kind |sections |description bytes |0  |all bytes  | description (JSON) | pad to 64 | section ...
//
//   section  0           4            8           12  16          64
//            |part count |table bytes |meta bytes |0  |body bytes | body as in pipeline/body.ts | pad to 64
//
// A request has one section. A result has one for each output, and behind it one for each of its pieces; its
// description says which stage and instance made it, and how many pieces there are.
//
// Invariant: decoding believes nothing: what does not describe exactly the bytes that are there is RDMA_ERR_PROTOCOL.
// Encoded bytes share no memory with their tensors; decoded tensors are views of the bytes, which must have no other
// user.
import { RdmaError } from '../core/errors.js';
import { checkObject } from '../core/validate.js';
import {
  type BodySizes,
  bodyBytes,
  checkParts,
  metaOf,
  type PartToSend,
  readTable,
  tableBytes,
  tensorBytes,
  writeBody,
} from '../pipeline/body.js';
import { ALIGN_BYTES, getCount, MAX_PARTS, MAX_TABLE_BYTES, setCount } from '../pipeline/envelope.js';
import type { PipelineOutput, PipelineRequest, PipelineResult, Tensor, Trace } from '../pipeline/index.js';
import { decodeMeta, encodeMeta, MAX_META_BYTES } from '../pipeline/meta.js';
import { viewTensor } from '../pipeline/tensor.js';

const MAGIC = 0x424a504f; // "OPJB"
const VERSION = 1;
const Kind = { REQUEST: 1, RESULT: 2 } as const;
type KindCode = (typeof Kind)[keyof typeof Kind];
const HEAD_BYTES = 64;
// Where the fields of the head lie, as drawn above. The magic number is at 0.
const VERSION_AT = 4;
const KIND_AT = 5;
const SECTIONS_AT = 6;
const DESCRIPTION_BYTES_AT = 8;
const ZERO_AT = 12;
const ALL_BYTES_AT = 16;
// And those of a section, whose part count is at 0.
const TABLE_BYTES_AT = 4;
const META_BYTES_AT = 8;
const BODY_BYTES_AT = 16;
const MAX_SECTIONS = 65_535;
const MAX_DESCRIPTION_BYTES = 16 * 2 ** 20;
const NO_BYTES = new Uint8Array(0);
const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/** A request or a result as bytes. */
export interface Encoded {
  readonly bytes: Uint8Array;
  /** Of it, bytes of tensors. */
  readonly tensorBytes: number;
}

interface Section {
  readonly parts: readonly PartToSend[];
  readonly meta: Uint8Array;
}

/** Bytes of the tensors of a request. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming what is wrong */
export function requestBytes(request: PipelineRequest): number {
  const { parts } = checkObject<PipelineRequest>('request', request);
  return tensorBytes(checkParts(parts, undefined));
}

/**
 * Encodes a request.
 *
 * @param request its tensors are copied: they may change afterwards
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming what is wrong; RDMA_ERR_MESSAGE_TOO_LARGE
 */
export function encodeRequest(request: PipelineRequest): Encoded {
  checkObject('request', request);
  const { meta, parts } = request;
  return encode(Kind.REQUEST, NO_BYTES, [section(meta, parts)]);
}

/**
 * Decodes what {@link encodeRequest} made.
 *
 * @param bytes belong to the request from now on: its tensors may be views of them
 * @throws RdmaError RDMA_ERR_PROTOCOL when the bytes are something else; RDMA_ERR_VERSION
 */
export function decodeRequest(bytes: Uint8Array): PipelineRequest {
  const { description, sections } = decode(Kind.REQUEST, bytes);
  if (description.length > 0 || sections.length !== 1) throw damaged('a request has one section');
  return sections[0]!;
}

/**
 * Encodes a result.
 *
 * @param result its tensors are copied: they may be released afterwards
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_MESSAGE_TOO_LARGE
 */
export function encodeResult(result: PipelineResult): Encoded {
  const { request, outputs, trace, expectedMs } = result;
  const names = outputs.map(({ stage, instance, pieces }) => ({ stage, instance, pieces: pieces?.length }));
  const description = encoder.encode(JSON.stringify({ request, outputs: names, trace, expectedMs }));
  const all = outputs.flatMap((output) => [output, ...(output.pieces ?? [])]);
  if (all.length > MAX_SECTIONS || description.length > MAX_DESCRIPTION_BYTES) {
    throw new RdmaError('RDMA_ERR_MESSAGE_TOO_LARGE', `a result of ${all.length} outputs and pieces cannot be stored`);
  }
  return encode(
    Kind.RESULT,
    description,
    all.map(({ meta, parts }) => section(meta, parts)),
  );
}

/**
 * Decodes what {@link encodeResult} made.
 *
 * @param bytes belong to the result from now on: its tensors may be views of them
 * @throws RdmaError RDMA_ERR_PROTOCOL when the bytes are something else; RDMA_ERR_VERSION
 */
export function decodeResult(bytes: Uint8Array): PipelineResult {
  const { description, sections } = decode(Kind.RESULT, bytes);
  const { request, outputs, trace, expectedMs } = readDescription(description);
  if (typeof request !== 'string' || !Array.isArray(outputs)) throw damaged('its description does not fit');
  if (expectedMs !== undefined && !isTime(expectedMs)) throw damaged('its expected time is none');
  let at = 0;
  const take = (): DecodedSection => sections[at++] ?? fail('a section is missing');
  const made = outputs.map((output: unknown, i): PipelineOutput => {
    const { stage, instance, pieces } = (typeof output === 'object' && output !== null ? output : {}) as Record<
      string,
      unknown
    >;
    if (typeof stage !== 'string' || !Number.isSafeInteger(instance)) throw damaged(`output ${i} has no name`);
    const own = { stage, instance: instance as number, ...take() };
    if (pieces === undefined) return own;
    if (!isCount(pieces) || (pieces as number) > sections.length) throw damaged(`output ${i} has no count of pieces`);
    return { ...own, pieces: Array.from({ length: pieces as number }, (_, number) => ({ number, ...take() })) };
  });
  if (at !== sections.length) throw damaged('sections are left over');
  return { request, outputs: made, trace: checkTrace(trace), expectedMs, release: () => {} };
}

function section(meta: unknown, parts: unknown): Section {
  return { parts: checkParts(parts, undefined), meta: meta === undefined ? NO_BYTES : encodeMeta(meta) };
}

const aligned = (length: number): number => Math.ceil(length / ALIGN_BYTES) * ALIGN_BYTES;

function encode(kind: KindCode, description: Uint8Array, sections: readonly Section[]): Encoded {
  const bodies = sections.map(({ parts, meta }) => bodyBytes(0, parts, meta.length));
  let length = HEAD_BYTES + aligned(description.length);
  let tensors = 0;
  for (let i = 0; i < sections.length; i++) {
    length += HEAD_BYTES + aligned(bodies[i]!);
    tensors += tensorBytes(sections[i]!.parts);
  }
  const bytes = allocate(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint8(VERSION_AT, VERSION);
  view.setUint8(KIND_AT, kind);
  view.setUint16(SECTIONS_AT, sections.length, true);
  view.setUint32(DESCRIPTION_BYTES_AT, description.length, true);
  setCount(view, ALL_BYTES_AT, length);
  bytes.set(description, HEAD_BYTES);
  let at = HEAD_BYTES + aligned(description.length);
  for (let i = 0; i < sections.length; i++) {
    const { parts, meta } = sections[i]!;
    view.setUint32(at, parts.length, true);
    view.setUint32(at + TABLE_BYTES_AT, tableBytes(parts), true);
    view.setUint32(at + META_BYTES_AT, meta.length, true);
    setCount(view, at + BODY_BYTES_AT, bodies[i]!);
    writeBody(bytes, view, at + HEAD_BYTES, NO_BYTES, parts, meta);
    at += HEAD_BYTES + aligned(bodies[i]!);
  }
  return { bytes, tensorBytes: tensors };
}

function allocate(length: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(length);
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_MESSAGE_TOO_LARGE', `there is no memory for ${length} bytes`, { cause });
  }
}

interface DecodedSection {
  readonly meta: Record<string, unknown>;
  readonly parts: Record<string, Tensor>;
}

function decode(kind: KindCode, source: Uint8Array): { description: Uint8Array; sections: DecodedSection[] } {
  // Typed arrays begin on a multiple of their elements' size.
  const bytes = source.byteOffset % 8 === 0 ? source : source.slice();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < HEAD_BYTES || view.getUint32(0, true) !== MAGIC) throw damaged('it has no head');
  if (view.getUint8(VERSION_AT) !== VERSION) {
    throw new RdmaError(
      'RDMA_ERR_VERSION',
      `the stored record has version ${view.getUint8(VERSION_AT)}, not ${VERSION}`,
      {
        remedy: 'read it with the release that wrote it',
      },
    );
  }
  if (view.getUint8(KIND_AT) !== kind) throw damaged('it is of another kind');
  if (getCount(view, ALL_BYTES_AT) !== bytes.length) throw damaged(`it has ${bytes.length} bytes and says otherwise`);
  const count = view.getUint16(SECTIONS_AT, true);
  const length = view.getUint32(DESCRIPTION_BYTES_AT, true);
  let at = HEAD_BYTES + aligned(length);
  if (view.getUint32(ZERO_AT, true) !== 0 || at > bytes.length) throw damaged('its description is too long');
  const description = bytes.subarray(HEAD_BYTES, HEAD_BYTES + length);
  const sections: DecodedSection[] = [];
  for (let i = 0; i < count; i++) {
    if (at + HEAD_BYTES > bytes.length) throw damaged('a section is missing');
    const sizes = readSizes(view, at, bytes.length);
    sections.push(readSection(sizes, bytes, view, at + HEAD_BYTES));
    at += HEAD_BYTES + aligned(sizes.bodyBytes);
  }
  if (at !== bytes.length) throw damaged('bytes are left over');
  return { description, sections };
}

function readSizes(view: DataView, at: number, end: number): BodySizes {
  const sizes: BodySizes = {
    traceBytes: 0,
    partCount: view.getUint32(at, true),
    tableBytes: view.getUint32(at + TABLE_BYTES_AT, true),
    metaBytes: view.getUint32(at + META_BYTES_AT, true),
    bodyBytes: getCount(view, at + BODY_BYTES_AT),
  };
  const { partCount, tableBytes: table, metaBytes, bodyBytes: body } = sizes;
  const fits = at + HEAD_BYTES + aligned(body) <= end && table + metaBytes <= body; // false for NaN
  if (!fits || partCount > MAX_PARTS || table > MAX_TABLE_BYTES || metaBytes > MAX_META_BYTES) {
    throw damaged('a section has no sane sizes');
  }
  return sizes;
}

function readSection(sizes: BodySizes, bytes: Uint8Array, view: DataView, at: number): DecodedSection {
  const parts: Record<string, Tensor> = Object.create(null);
  for (const { name, dtype, shape, offset, reference } of readTable(sizes, bytes, view, at)) {
    if (reference !== undefined) throw damaged(`part ${name} lies elsewhere`);
    parts[name] = viewTensor(dtype, shape, bytes.buffer, bytes.byteOffset + at + offset);
  }
  return { meta: decodeMeta(metaOf(sizes, bytes, at)), parts };
}

function fail(text: string): never {
  throw damaged(text);
}

function readDescription(bytes: Uint8Array): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(decoder.decode(bytes));
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // It is damaged, as everything else that is no object.
  }
  throw damaged('its description is not JSON');
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
const isTime = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);

function checkTrace(value: unknown): Trace | undefined {
  if (value === undefined) return undefined;
  const { tasks, hops } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  if (!Array.isArray(tasks) || !Array.isArray(hops)) throw damaged('its trace is none');
  for (const task of tasks as Record<string, unknown>[]) {
    const { stage, instance, queueUs, computeUs } = task ?? {};
    if (typeof stage !== 'string' || !isCount(instance) || !isTime(queueUs) || !isTime(computeUs)) {
      throw damaged('its trace has a task that is none');
    }
  }
  for (const hop of hops as Record<string, unknown>[]) {
    const { from, fromInstance, to, toInstance, bytes, us } = hop ?? {};
    const isNamed = typeof from === 'string' && isCount(fromInstance) && typeof to === 'string' && isCount(toInstance);
    if (!isNamed || !isCount(bytes) || (us !== undefined && !isTime(us))) {
      throw damaged('its trace has a hop that is none');
    }
    // JSON leaves out what is undefined.
    hop.us = us;
  }
  return { tasks, hops } as Trace;
}

function damaged(why: string): RdmaError {
  return new RdmaError('RDMA_ERR_PROTOCOL', `what is stored cannot be read: ${why}`);
}
