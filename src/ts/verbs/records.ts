// The rings of records that JavaScript shares with native code: work requests going down, completions coming up.
//
// Invariant: offsets and sizes equal those of SendRecord, ReceiveRecord and CompletionRecord in
// src/native/device.h. Nothing here allocates: a request is a few stores into typed arrays.
//
//   send record, 128 bytes
//   0      8               16      20     24   28    32      36..63      64
//   | wrId | remoteAddress | opcode| flags| imm| rkey| numSge| (reserved) | sge[4] of {address f64, length u32, lkey u32}
import { WorkOpcode } from './constants.js';

const RECORD_F64 = 16; // 128 bytes in doubles
const RECORD_U32 = 32;
const SGE_F64 = 8; // offset of sge[0] in doubles
const SGE_U32 = 16;

/** The largest number of scatter-gather elements in a work request. */
export const MAX_SGE = 4;

/** One piece of registered local memory. */
export interface ScatterGather {
  /** Address as {@link MemoryRegion.address} plus an offset in bytes. */
  address: number;
  /** 0 to 2^31 bytes. */
  length: number;
  lkey: number;
}

// What both kinds of work request have in common: fixed records, scatter-gather elements, and how many were taken.
abstract class WorkRequests {
  /** How many requests one post can hand down. */
  readonly capacity: number;
  protected readonly f64: Float64Array;
  protected readonly u32: Uint32Array;

  /** @internal */
  constructor(records: ArrayBuffer) {
    this.f64 = new Float64Array(records);
    this.u32 = new Uint32Array(records);
    this.capacity = records.byteLength / 128 - 1;
  }

  /** @internal How many requests of the last refused post were taken. */
  get taken(): number {
    return this.u32[this.capacity * RECORD_U32] ?? 0;
  }

  protected element(index: number, at: number, address: number, length: number, lkey: number): void {
    const u = index * RECORD_U32 + SGE_U32 + at * 4;
    this.f64[index * RECORD_F64 + SGE_F64 + at * 2] = address;
    this.u32[u + 2] = length;
    this.u32[u + 3] = lkey;
  }

  protected elements(index: number, pieces: readonly ScatterGather[]): void {
    for (let i = 0; i < pieces.length && i < MAX_SGE; i++) {
      const piece = pieces[i]!;
      this.element(index, i, piece.address, piece.length, piece.lkey);
    }
  }
}

/**
 * The send work requests of one queue pair, filled by index and handed down by `postSend(count)`.
 * Arguments are not checked here; the device answers for what is wrong in them.
 */
export class SendRequests extends WorkRequests {
  /** One-sided WRITE of one local piece to `remoteAddress` (ibv_post_send(3), IBV_WR_RDMA_WRITE). */
  write(
    index: number,
    wrId: number,
    flags: number,
    remoteAddress: number,
    rkey: number,
    address: number,
    length: number,
    lkey: number,
  ): void {
    this.head(index, WorkOpcode.WRITE, wrId, flags, 0, remoteAddress, rkey, 1);
    this.element(index, 0, address, length, lkey);
  }

  /** WRITE, then the receiver gets a completion with `imm` (IBV_WR_RDMA_WRITE_WITH_IMM). */
  writeWithImm(
    index: number,
    wrId: number,
    flags: number,
    imm: number,
    remoteAddress: number,
    rkey: number,
    address: number,
    length: number,
    lkey: number,
  ): void {
    this.head(index, WorkOpcode.WRITE_WITH_IMM, wrId, flags, imm, remoteAddress, rkey, 1);
    this.element(index, 0, address, length, lkey);
  }

  /** One-sided READ from `remoteAddress` into one local piece (IBV_WR_RDMA_READ). */
  read(
    index: number,
    wrId: number,
    flags: number,
    remoteAddress: number,
    rkey: number,
    address: number,
    length: number,
    lkey: number,
  ): void {
    this.head(index, WorkOpcode.READ, wrId, flags, 0, remoteAddress, rkey, 1);
    this.element(index, 0, address, length, lkey);
  }

  /** SEND of one local piece into a receive that the peer has posted (IBV_WR_SEND). */
  send(index: number, wrId: number, flags: number, address: number, length: number, lkey: number): void {
    this.head(index, WorkOpcode.SEND, wrId, flags, 0, 0, 0, 1);
    this.element(index, 0, address, length, lkey);
  }

  /** SEND with an immediate (IBV_WR_SEND_WITH_IMM). */
  sendWithImm(
    index: number,
    wrId: number,
    flags: number,
    imm: number,
    address: number,
    length: number,
    lkey: number,
  ): void {
    this.head(index, WorkOpcode.SEND_WITH_IMM, wrId, flags, imm, 0, 0, 1);
    this.element(index, 0, address, length, lkey);
  }

  /** Makes the WRITE at `index` a WRITE_WITH_IMM, with other flags: for the last one of a batch. */
  addImm(index: number, flags: number, imm: number): void {
    const u = index * RECORD_U32;
    this.u32[u + 4] = WorkOpcode.WRITE_WITH_IMM;
    this.u32[u + 5] = flags;
    this.u32[u + 6] = imm;
  }

  /** The number with which the completion of the request at `index` comes. */
  setWrId(index: number, wrId: number): void {
    this.f64[index * RECORD_F64] = wrId;
  }

  /** Any request, with 0 to {@link MAX_SGE} pieces. */
  set(
    index: number,
    opcode: number,
    wrId: number,
    flags: number,
    imm: number,
    remoteAddress: number,
    rkey: number,
    pieces: readonly ScatterGather[],
  ): void {
    this.head(index, opcode, wrId, flags, imm, remoteAddress, rkey, pieces.length);
    this.elements(index, pieces);
  }

  private head(
    index: number,
    opcode: number,
    wrId: number,
    flags: number,
    imm: number,
    remoteAddress: number,
    rkey: number,
    numSge: number,
  ): void {
    const f = index * RECORD_F64;
    const u = index * RECORD_U32;
    this.f64[f] = wrId;
    this.f64[f + 1] = remoteAddress;
    this.u32[u + 4] = opcode;
    this.u32[u + 5] = flags;
    this.u32[u + 6] = imm;
    this.u32[u + 7] = rkey;
    this.u32[u + 8] = numSge;
  }
}

/** The receive work requests of one queue pair, handed down by `postReceive(count)`. */
export class ReceiveRequests extends WorkRequests {
  /** A receive into one piece of local memory (ibv_post_recv(3)). */
  into(index: number, wrId: number, address: number, length: number, lkey: number): void {
    this.f64[index * RECORD_F64] = wrId;
    this.u32[index * RECORD_U32 + 2] = 1;
    this.element(index, 0, address, length, lkey);
  }

  /** A receive without memory: enough for WRITE_WITH_IMM and for SENDs of 0 bytes. */
  empty(index: number, wrId: number): void {
    this.f64[index * RECORD_F64] = wrId;
    this.u32[index * RECORD_U32 + 2] = 0;
  }

  /** A receive into 0 to {@link MAX_SGE} pieces. */
  set(index: number, wrId: number, pieces: readonly ScatterGather[]): void {
    this.f64[index * RECORD_F64] = wrId;
    this.u32[index * RECORD_U32 + 2] = pieces.length;
    this.elements(index, pieces);
  }
}

/**
 * The completions that the last `poll` brought up, read by index. As in ibv_poll_cq(3), after a status other than
 * success only `wrId`, `status`, `qpNum` and `vendorError` mean something.
 */
export class Completions {
  /** How many completions one `poll` can bring. */
  readonly capacity: number;
  private readonly f64: Float64Array;
  private readonly u32: Uint32Array;

  /** @internal */
  constructor(records: ArrayBuffer) {
    this.f64 = new Float64Array(records);
    this.u32 = new Uint32Array(records);
    this.capacity = records.byteLength / 64;
  }

  /** The number that the work request was posted with. */
  wrId(index: number): number {
    return this.f64[index * 8]!;
  }

  /** A value of CompletionStatus; 0 is success. */
  status(index: number): number {
    return this.u32[index * 16 + 2]!;
  }

  /** A value of CompletionOpcode. */
  opcode(index: number): number {
    return this.u32[index * 16 + 3]!;
  }

  /** Bytes received. */
  byteLength(index: number): number {
    return this.u32[index * 16 + 4]!;
  }

  /** The immediate, when `flags` has WITH_IMM. */
  imm(index: number): number {
    return this.u32[index * 16 + 5]!;
  }

  /** The local queue pair. */
  qpNum(index: number): number {
    return this.u32[index * 16 + 6]!;
  }

  /** Bits of CompletionFlags. */
  flags(index: number): number {
    return this.u32[index * 16 + 7]!;
  }

  /** The device's own error number, for its vendor. */
  vendorError(index: number): number {
    return this.u32[index * 16 + 8]!;
  }
}
