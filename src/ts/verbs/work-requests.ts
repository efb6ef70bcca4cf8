// What send and receive work requests have in common: the records that JavaScript shares with native code, and their
// scatter-gather elements.
//
// Invariant: offsets and sizes equal those of SendRecord and ReceiveRecord in src/native/records.h. Nothing here
// allocates: a request is a few stores into typed arrays.
/** @internal */
export const RECORD_F64 = 16; // 128 bytes in doubles
/** @internal */
export const RECORD_U32 = 32;
const SGE_F64 = 8; // offset of sge[0] in doubles
const SGE_U32 = 16;
// In a piece, behind its address of 8 bytes.
const SGE_LENGTH_U32 = 2;
const SGE_LKEY_U32 = 3;
const SGE_WORDS_F64 = 2;
const SGE_WORDS_U32 = 4;

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

/** Fixed records, scatter-gather elements, and how many were taken. */
export abstract class WorkRequests {
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
    const u = index * RECORD_U32 + SGE_U32 + at * SGE_WORDS_U32;
    this.f64[index * RECORD_F64 + SGE_F64 + at * SGE_WORDS_F64] = address;
    this.u32[u + SGE_LENGTH_U32] = length;
    this.u32[u + SGE_LKEY_U32] = lkey;
  }

  protected elements(index: number, pieces: readonly ScatterGather[]): void {
    for (let i = 0; i < pieces.length && i < MAX_SGE; i++) {
      const piece = pieces[i]!;
      this.element(index, i, piece.address, piece.length, piece.lkey);
    }
  }
}
