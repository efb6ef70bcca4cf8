// One work request, from the record that was posted to what it does to memory.
//
// Invariant: a request touches memory only after key, protection domain, rights and bounds on both sides were found
// right, as a network card checks them. A WRITE lands from its first byte on; it may rest at any byte in between.
import { RdmaError } from '../core/errors.js';
import { AccessFlags, CompletionStatus, SendFlags, WorkOpcode } from '../verbs/index.js';
import type { KeyTable, SimRegion } from './memory.js';
import type { SimQueuePair } from './queue-pair.js';
import type { SimWorld } from './world.js';

export interface SimRequest {
  opcode: number;
  wrId: number;
  flags: number;
  imm: number;
  rkey: number;
  remoteAddress: number;
  address: number;
  length: number;
  lkey: number;
  compareAdd: bigint;
  swap: bigint;
  /** Its place in the send queue, from 1. */
  position: number;
  /** Bytes that have landed. */
  landed: number;
  /** What a READ or an atomic has brought, until it is put in its place. */
  fetched: Uint8Array | undefined;
  /** The bytes on the wire, when nobody can be asked for them any more. */
  wire: Uint8Array | undefined;
  /** The peer has not answered once already. */
  unreachable: boolean;
}

/** Carried out; rests in the middle; waits for a receive; or the completion status with which it fails. */
export type Outcome = 'done' | 'more' | 'no-receive' | number;

const ATOMIC_BYTES = 8;
const empty = new Uint8Array(0);

/** Reads a send record (src/native/records.h, SendRecord). */
export function readRequest(index: number, f64: Float64Array, u32: Uint32Array, u64: BigUint64Array): SimRequest {
  const f = index * 16;
  const u = index * 32;
  const opcode = u32[u + 4]!;
  if (opcode > WorkOpcode.FETCH_ADD || opcode === WorkOpcode.SEND || opcode === WorkOpcode.SEND_WITH_IMM) {
    throw new RdmaError('ENOTSUP', `the simulated device has no operation ${opcode}`);
  }
  const pieces = u32[u + 8]!;
  if (pieces !== 1) throw new RdmaError('ENOTSUP', `the simulated device takes one piece of memory, not ${pieces}`);
  return {
    opcode,
    wrId: f64[f]!,
    remoteAddress: f64[f + 1]!,
    flags: u32[u + 5]!,
    imm: u32[u + 6]!,
    rkey: u32[u + 7]!,
    compareAdd: u64[f + 6]!,
    swap: u64[f + 7]!,
    address: f64[f + 8]!,
    length: u32[u + 18]!,
    lkey: u32[u + 19]!,
    position: 0,
    landed: 0,
    fetched: undefined,
    wire: undefined,
    unreachable: false,
  };
}

/** Takes the bytes of a WRITE out of memory that its process is about to lose. */
export function snapshot(request: SimRequest, keys: KeyTable): void {
  if (request.wire !== undefined) return;
  request.wire = empty;
  if (!isWrite(request)) return;
  const region = keys.find(request.lkey);
  if (region?.holds(request.address, request.length)) {
    request.wire = region.view(request.address, request.length).slice();
  }
}

/** Goes one step on with a request of `qp` at `peer`. */
export function carryOut(request: SimRequest, qp: SimQueuePair, peer: SimQueuePair, world: SimWorld): Outcome {
  const { opcode } = request;
  if (isWrite(request)) return write(request, qp, peer, world);
  const bytes = opcode === WorkOpcode.READ ? request.length : ATOMIC_BYTES;
  const local = request.wire === undefined ? localRegion(request, qp, bytes, AccessFlags.LOCAL_WRITE) : undefined;
  if (request.wire === undefined && local === undefined) return CompletionStatus.LOCAL_PROTECTION_ERROR;
  const right = opcode === WorkOpcode.READ ? AccessFlags.REMOTE_READ : AccessFlags.REMOTE_ATOMIC;
  const region = remoteRegion(request, peer, bytes, right);
  if (region === undefined) {
    peer.refuse();
    return CompletionStatus.REMOTE_ACCESS_ERROR;
  }
  request.fetched = region.view(request.remoteAddress, bytes).slice();
  if (opcode !== WorkOpcode.READ) {
    if (request.remoteAddress % ATOMIC_BYTES !== 0) return CompletionStatus.REMOTE_INVALID_REQUEST;
    const view = region.view(request.remoteAddress, bytes);
    const word = new DataView(view.buffer, view.byteOffset, bytes);
    const old = word.getBigUint64(0, true);
    if (opcode === WorkOpcode.FETCH_ADD) word.setBigUint64(0, BigInt.asUintN(64, old + request.compareAdd), true);
    else if (old === request.compareAdd) word.setBigUint64(0, request.swap, true);
  }
  return 'done';
}

const isWrite = ({ opcode }: SimRequest) => opcode === WorkOpcode.WRITE || opcode === WorkOpcode.WRITE_WITH_IMM;

/** The bytes of `next` are seen before those of `request`, which is carried out before it; an immediate is not. */
export function overtake(request: SimRequest, next: SimRequest, qp: SimQueuePair, peer: SimQueuePair): void {
  if (!isWrite(request) || !isWrite(next) || request.landed > 0 || next.landed > 0) return;
  const source = sourceOf(next, qp);
  const region = remoteRegion(next, peer, next.length, AccessFlags.REMOTE_WRITE);
  if (source === undefined || region === undefined) return;
  region.store(next.remoteAddress, source.subarray(0, next.length), qp);
  next.landed = next.length;
}

function write(request: SimRequest, qp: SimQueuePair, peer: SimQueuePair, world: SimWorld): Outcome {
  const { length, landed } = request;
  if (landed < length) {
    const source = sourceOf(request, qp);
    if (source === undefined) return CompletionStatus.LOCAL_PROTECTION_ERROR;
    // A process that copies by itself was let in once; a network card is checked with each packet.
    const region = qp.standsIn ?? remoteRegion(request, peer, length, AccessFlags.REMOTE_WRITE);
    if (region === undefined) {
      peer.refuse();
      return CompletionStatus.REMOTE_ACCESS_ERROR;
    }
    const left = length - landed;
    const rests = left > 1 && world.choices.chance(world.options.tearShare, 'tear');
    const count = rests ? world.tearAt(left) : left;
    const from = world.options.weakOrder ? left - count : landed;
    region.store(request.remoteAddress + from, source.subarray(from, from + count), qp);
    request.landed += count;
    const inside = world.options.copier === 'process' && rests;
    if (inside && qp.standsIn === undefined) region.inside++;
    else if (!inside && qp.standsIn !== undefined) region.inside--;
    qp.standsIn = inside ? region : undefined;
    if (rests) return 'more';
  }
  if (request.opcode === WorkOpcode.WRITE_WITH_IMM) {
    const solicited = (request.flags & SendFlags.SOLICITED) !== 0;
    if (!peer.arrive(request.imm, length, solicited)) return 'no-receive';
  }
  return 'done';
}

// The bytes that a WRITE carries; undefined when its process has no right to them.
function sourceOf(request: SimRequest, qp: SimQueuePair): Uint8Array | undefined {
  if (request.wire !== undefined) return request.wire.length < request.length ? undefined : request.wire;
  const { address, length } = request;
  return localRegion(request, qp, length, 0)?.view(address, length);
}

function localRegion(request: SimRequest, qp: SimQueuePair, bytes: number, right: number): SimRegion | undefined {
  const region = qp.domain.device.keys.find(request.lkey);
  if (region?.domain !== qp.domain || !region.holds(request.address, bytes)) return undefined;
  return (region.access & right) === right ? region : undefined;
}

function remoteRegion(request: SimRequest, peer: SimQueuePair, bytes: number, right: number): SimRegion | undefined {
  const region = peer.domain.device.keys.find(request.rkey);
  if (region?.domain !== peer.domain || !region.holds(request.remoteAddress, bytes)) return undefined;
  return (region.access & peer.access & right) === right ? region : undefined;
}
