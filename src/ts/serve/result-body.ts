// Results as bodies: JSON, a form, safetensors, or one part as it is.
//
// Invariant: every form holds the same outputs; what a form cannot hold is refused with the form that can.
import { createHash } from 'node:crypto';
import { RdmaError } from '../core/errors.js';
import type { PipelineOutput, PipelineResult, Tensor } from '../pipeline/index.js';
import { bytesOf } from '../pipeline/tensor.js';
import { encodeJsonOutputs } from './json-tensors.js';
import { JSON_TYPE, OCTETS, partType } from './media.js';
import { encodeMultipart, FORM_TYPE, type FormPartToSend } from './multipart.js';
import { encodeNpy, NPY_TYPE } from './npy.js';
import { encodeSafetensors, SAFETENSORS_TYPE } from './safetensors.js';

/** The forms of a whole result, the preferred one first. */
export const RESULT_TYPES = [JSON_TYPE, FORM_TYPE, SAFETENSORS_TYPE] as const;

/** A body in pieces, which are sent one behind the other. */
export interface Body {
  contentType: string;
  pieces: readonly Uint8Array[];
}

/** What has parts: an output, or one of its pieces, which has a number. */
export type Holder = Pick<PipelineOutput, 'stage' | 'instance' | 'meta' | 'parts'> & { number?: number };

/** `STAGE/INSTANCE/PART`; of a piece `STAGE/INSTANCE.NUMBER/PART`. */
export const contentName = ({ stage, instance, number }: Holder, part: string) =>
  `${stage}/${instance}${number === undefined ? '' : `.${number}`}/${part}`;

// Outputs, and behind each its pieces.
function holdersOf(outputs: readonly PipelineOutput[]): Holder[] {
  return outputs.flatMap((output) => [
    output,
    ...(output.pieces ?? []).map((piece) => ({ stage: output.stage, instance: output.instance, ...piece })),
  ]);
}

/** What is said of the parts of an output or a piece, whose contents come apart. */
export function partsAbout(holder: Holder): object {
  const entries = Object.entries(holder.parts).map(([part, { dtype, shape, data }]) => [
    part,
    { dtype, shape, bytes: data.byteLength, content: contentName(holder, part) },
  ]);
  return Object.fromEntries(entries);
}

/** What is said of outputs whose contents come apart. */
export function outputsAbout(outputs: readonly PipelineOutput[]): object[] {
  return outputs.map((output) => {
    const { stage, instance, meta, pieces } = output;
    const about = { stage, instance, meta, parts: partsAbout(output) };
    if (pieces === undefined) return about;
    const own = pieces.map((piece) => {
      return { number: piece.number, meta: piece.meta, parts: partsAbout({ stage, instance, ...piece }) };
    });
    return { ...about, pieces: own };
  });
}

/**
 * A whole result.
 *
 * @param maxJsonBytes tensors that JSON may hold
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED when it is too large for JSON
 */
export function resultBody(
  job: string,
  { outputs }: PipelineResult,
  type: (typeof RESULT_TYPES)[number],
  maxJsonBytes: number,
): Body {
  const parts = holdersOf(outputs).flatMap((holder) =>
    Object.entries(holder.parts).map(([part, tensor]) => ({ name: contentName(holder, part), holder, part, tensor })),
  );
  if (type === SAFETENSORS_TYPE) {
    const tensors = Object.fromEntries(parts.map(({ name, tensor }) => [name, tensor]));
    const about = JSON.stringify(outputs.map(headOf));
    return { contentType: type, pieces: encodeSafetensors({ tensors, metadata: { job, outputs: about } }) };
  }
  if (type === FORM_TYPE) {
    const about = { job, outputs: outputsAbout(outputs) };
    const head: FormPartToSend = { name: 'result', type: JSON_TYPE, content: [Buffer.from(JSON.stringify(about))] };
    const files = parts.map(({ name, holder, part, tensor }): FormPartToSend => {
      return { name, filename: part, type: partType(holder.meta, part), content: [bytesOf(tensor)] };
    });
    return encodeMultipart([head, ...files]);
  }
  const bytes = parts.reduce((sum, { tensor }) => sum + tensor.data.byteLength, 0);
  if (bytes > maxJsonBytes) {
    throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', `a result of ${bytes} bytes is too large for JSON`, {
      remedy: `accept ${FORM_TYPE} or ${SAFETENSORS_TYPE}, or read its parts`,
    });
  }
  const text = JSON.stringify({ job, outputs: encodeJsonOutputs(outputs) });
  return { contentType: `${JSON_TYPE}; charset=utf-8`, pieces: [Buffer.from(text)] };
}

function headOf({ stage, instance, meta, pieces }: PipelineOutput): object {
  return { stage, instance, meta, pieces: pieces?.map(({ number, meta: own }) => ({ number, meta: own })) };
}

/** Finds a part of a result; undefined: there is none. */
export function findPart(
  { outputs }: PipelineResult,
  stage: string,
  instance: number,
  part: string,
): { output: PipelineOutput; tensor: Tensor } | undefined {
  const output = outputs.find((each) => each.stage === stage && each.instance === instance);
  if (output === undefined || !Object.hasOwn(output.parts, part)) return undefined;
  return { output, tensor: output.parts[part]! };
}

/** What a part is offered as, the preferred form first. */
export function partOffers(output: PipelineOutput, part: string): readonly string[] {
  const own = partType(output.meta, part);
  return own === OCTETS ? [OCTETS, NPY_TYPE] : [own, OCTETS, NPY_TYPE];
}

/** The body of one part. @throws RdmaError RDMA_ERR_NOT_SUPPORTED when NumPy has not its element type */
export function partBody(tensor: Tensor, type: string): Body & { etag: string } {
  const pieces = type === NPY_TYPE ? encodeNpy(tensor) : [bytesOf(tensor)];
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  return { contentType: type, pieces, etag: `"${hash.digest('base64url').slice(0, 27)}"` };
}

/** The bytes `begin` to `end` of pieces, as views. */
export function slicePieces(pieces: readonly Uint8Array[], begin: number, end: number): Uint8Array[] {
  const slices: Uint8Array[] = [];
  let at = 0;
  for (const piece of pieces) {
    const [from, to] = [Math.max(begin - at, 0), Math.min(end - at, piece.byteLength)];
    if (from < to) slices.push(piece.subarray(from, to));
    at += piece.byteLength;
  }
  return slices;
}

/** Bytes of pieces. */
export function lengthOf(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
}
