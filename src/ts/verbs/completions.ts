// What a poll of a completion queue brought up.
//
// Invariant: offsets and sizes equal those of CompletionRecord in src/native/records.h. Reading allocates nothing.
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

  /** @internal Puts the record at `from` in the place of the one at `to`. */
  copyWithin(to: number, from: number): void {
    this.f64.copyWithin(to * 8, from * 8, from * 8 + 8);
  }

  /** @internal A copy of a record. */
  save(index: number): Float64Array {
    return this.f64.slice(index * 8, index * 8 + 8);
  }

  /** @internal */
  load(index: number, record: Float64Array): void {
    this.f64.set(record, index * 8);
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

  /** The sender's queue pair: of datagrams (UD) only. */
  sourceQp(index: number): number {
    return this.u32[index * 16 + 9]!;
  }
}
