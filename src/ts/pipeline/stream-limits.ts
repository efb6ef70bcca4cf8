// The limit of stream pieces in a pipeline, and the readers of each stream.
//
// A piece is kept, and stays unacknowledged, until everything made from its stream was acknowledged. So a link has to
// keep the pieces of all requests that may be between their admission and their end at its place.
//
// Invariant: residentRequests() requests, each of the most pieces, have room in every link: no request waits for room
// that another one holds. Everything here is a pure function.
import { GATEWAY_INDEX } from './plan.js';
import type { Graph } from './routing.js';
import type { WorkflowSpec } from './spec.js';

/** How a place takes what a sender's stage sends. */
export const Take = {
  /** It comes as one message. */
  WHOLE: 0,
  /** It comes in pieces, and a task begins with the last of them. */
  GATHERED: 1,
  /** It comes in pieces, and a task begins with the first of them. */
  STREAMED: 2,
} as const;

/**
 * For each stage, how the place of a stage takes what it sends; see {@link Take}.
 *
 * @param stage whose place it is; GATEWAY_INDEX for a gateway
 * @returns undefined when everything comes whole
 */
export function takesOf({ spec, before, last }: Graph, stage: number): Uint8Array | undefined {
  const senders = stage === GATEWAY_INDEX ? last : before[stage]!;
  const takes = new Uint8Array(spec.stages.length);
  const streams = stage === GATEWAY_INDEX ? [] : spec.stages[stage]!.streams;
  let any = false;
  for (const sender of senders) {
    if (sender === GATEWAY_INDEX || spec.stages[sender]!.maxPieces === 0) continue;
    takes[sender] = streams.includes(spec.stages[sender]!.name) ? Take.STREAMED : Take.GATHERED;
    any = true;
  }
  return any ? takes : undefined;
}

/** The most pieces of one stage of the workflow. */
export function mostPieces(spec: WorkflowSpec): number {
  return spec.stages.reduce((most, { maxPieces }) => Math.max(most, maxPieces), 0);
}

/** What of PlaceSizes decides that. */
export interface StreamSizes {
  readonly residentRequests: number;
  readonly streamedPieces: number;
}

/** How many requests, of all gateways, may be between their admission and their end at one place; at least one. */
export function residentRequests(spec: WorkflowSpec, sizes: StreamSizes): number {
  const most = mostPieces(spec);
  if (most === 0) return sizes.residentRequests;
  return Math.max(1, Math.min(sizes.residentRequests, Math.floor(sizes.streamedPieces / most)));
}

/**
 * How many pieces the links of a stage's places must be able to keep; 0 for a gateway, which has no streams.
 *
 * @param gateways how many there are: each may have one request at the place, however many pieces it has
 */
export function keptPieces(spec: WorkflowSpec, stage: number, sizes: StreamSizes, gateways: number): number {
  const pieces = stage === GATEWAY_INDEX ? 0 : spec.stages[stage]!.maxPieces;
  return pieces * Math.max(gateways, residentRequests(spec, sizes));
}

/** Bytes that the tensors of one resident request may take in the pool of a place, at most. */
export function outputRoom({ maxRequestBytes, stages }: WorkflowSpec): number {
  // The pieces of a run that was given up are there until the next run's first piece has come to all who read them.
  const most = (stage: WorkflowSpec['stages'][number]) => stage.maxOutputBytes * (stage.maxPieces > 0 ? 2 : 1);
  return stages.reduce((bytes, stage) => Math.max(bytes, most(stage)), maxRequestBytes);
}

/**
 * Requests of one gateway that may be between admission and end at one place: gateways share what may be resident at a
 * place, and what the pool of the largest sender has room for.
 *
 * @param gateways how many share it
 * @returns at least 1
 */
export function requestsOfGateway(
  spec: WorkflowSpec,
  sizes: StreamSizes & { readonly poolBytes: number },
  gateways: number,
): number {
  const most = Math.min(residentRequests(spec, sizes), Math.floor(sizes.poolBytes / outputRoom(spec)));
  return Math.max(1, Math.floor(most / gateways));
}
