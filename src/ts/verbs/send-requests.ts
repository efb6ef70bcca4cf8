// Send work requests of a queue pair.
//
// Invariant: as in work-requests.ts.
//
//   send record, 128 bytes
//   0      8               16      20     24   28    32      36             40          44           48          56    64
//   | wrId | remoteAddress | opcode| flags| imm| rkey| numSge| handle or MW | remoteQpn | remoteQkey | compareAdd | swap | sge[4]
import { WorkOpcode } from '../addon/constants.js';
import { RECORD_F64, RECORD_U32, type ScatterGather, WorkRequests } from './work-requests.js';

// Offsets in a record, as drawn above: in doubles and 64-bit words, and in words of 4 bytes.
const REMOTE_ADDRESS_F64 = 1;
const COMPARE_ADD_U64 = 6;
const SWAP_U64 = 7;
const OPCODE_U32 = 4;
const FLAGS_U32 = 5;
const IMM_U32 = 6;
const RKEY_U32 = 7;
const SGE_COUNT_U32 = 8;
const ADDRESS_HANDLE_U32 = 9;
const REMOTE_QPN_U32 = 10;
const REMOTE_QKEY_U32 = 11;
const FIRST_LENGTH_U32 = 18; // of sge[0]
// A bind names no peer: its words lie where other requests name one (BindView in src/native/records.h).
const WINDOW_U32 = 9;
const REGION_U32 = 10;
const ACCESS_U32 = 11;
const LENGTH_LOW_U32 = 12;
const LENGTH_HIGH_U32 = 13;

/**
 * The send work requests of one queue pair, filled by index and handed down by `postSend(count)`.
 * Arguments are not checked here; the device answers for what is wrong in them.
 */
export class SendRequests extends WorkRequests {
  private readonly u64: BigUint64Array;

  /** @internal */
  constructor(records: ArrayBuffer) {
    super(records);
    this.u64 = new BigUint64Array(records);
  }

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

  /** SEND, and the peer's `rkey` (of a memory window bound there) is invalid when it arrives (IBV_WR_SEND_WITH_INV). */
  sendWithInvalidate(
    index: number,
    wrId: number,
    flags: number,
    rkey: number,
    address: number,
    length: number,
    lkey: number,
  ): void {
    this.head(index, WorkOpcode.SEND_WITH_INV, wrId, flags, 0, 0, rkey, 1);
    this.element(index, 0, address, length, lkey);
  }

  /**
   * Makes the SEND at `index` a datagram's: where it goes (UD queue pairs; ibv_post_send(3), wr.ud).
   *
   * @param addressHandle `number` of an {@link AddressHandle} of the same protection domain
   */
  to(index: number, addressHandle: number, remoteQpn: number, remoteQkey: number): void {
    const u = index * RECORD_U32;
    this.u32[u + ADDRESS_HANDLE_U32] = addressHandle;
    this.u32[u + REMOTE_QPN_U32] = remoteQpn;
    this.u32[u + REMOTE_QKEY_U32] = remoteQkey;
  }

  /**
   * Compare and swap of the 8 bytes at `remoteAddress`: they become `swap` if they were `compare`. What they were comes
   * to `address`, 8 bytes, in this machine's byte order (IBV_WR_ATOMIC_CMP_AND_SWP).
   */
  compareSwap(
    index: number,
    wrId: number,
    flags: number,
    remoteAddress: number,
    rkey: number,
    compare: bigint,
    swap: bigint,
    address: number,
    lkey: number,
  ): void {
    this.head(index, WorkOpcode.COMPARE_SWAP, wrId, flags, 0, remoteAddress, rkey, 1);
    this.u64[index * RECORD_F64 + COMPARE_ADD_U64] = compare;
    this.u64[index * RECORD_F64 + SWAP_U64] = swap;
    this.element(index, 0, address, 8, lkey);
  }

  /** Fetch and add on the 8 bytes at `remoteAddress`, else as {@link compareSwap} (IBV_WR_ATOMIC_FETCH_AND_ADD). */
  fetchAdd(
    index: number,
    wrId: number,
    flags: number,
    remoteAddress: number,
    rkey: number,
    add: bigint,
    address: number,
    lkey: number,
  ): void {
    this.head(index, WorkOpcode.FETCH_ADD, wrId, flags, 0, remoteAddress, rkey, 1);
    this.u64[index * RECORD_F64 + COMPARE_ADD_U64] = add;
    this.element(index, 0, address, 8, lkey);
  }

  /**
   * Binds a memory window of type 2 to a part of a region, under a new key (IBV_WR_BIND_MW). Length 0 unbinds.
   *
   * @param window `number` of a {@link MemoryWindow}
   * @param rkey the key that the window has
   * @param newRkey the key that it gets: see {@link nextRkey}
   * @param region `lkey` of the region, registered with AccessFlags.MW_BIND
   * @param access bits of AccessFlags that the window gives
   */
  bindWindow(
    index: number,
    wrId: number,
    flags: number,
    window: number,
    rkey: number,
    newRkey: number,
    region: number,
    address: number,
    length: number,
    access: number,
  ): void {
    this.head(index, WorkOpcode.BIND_MW, wrId, flags, rkey, address, newRkey, 0);
    const u = index * RECORD_U32;
    this.u32[u + WINDOW_U32] = window;
    this.u32[u + REGION_U32] = region;
    this.u32[u + ACCESS_U32] = access;
    this.u32[u + LENGTH_LOW_U32] = length >>> 0;
    this.u32[u + LENGTH_HIGH_U32] = Math.floor(length / 2 ** 32);
  }

  /** Makes a key of this side invalid: of a bound memory window (IBV_WR_LOCAL_INV). */
  localInvalidate(index: number, wrId: number, flags: number, rkey: number): void {
    this.head(index, WorkOpcode.LOCAL_INV, wrId, flags, 0, 0, rkey, 0);
  }

  /** Makes the WRITE at `index` a WRITE_WITH_IMM, with other flags: for the last one of a batch. */
  addImm(index: number, flags: number, imm: number): void {
    const u = index * RECORD_U32;
    this.u32[u + OPCODE_U32] = WorkOpcode.WRITE_WITH_IMM;
    this.u32[u + FLAGS_U32] = flags;
    this.u32[u + IMM_U32] = imm;
  }

  /** The peer's address in the request at `index`. */
  setRemoteAddress(index: number, remoteAddress: number): void {
    this.f64[index * 16 + 1] = remoteAddress; // in numbers: a function this small is always inlined
  }

  /** The local address of the first piece of the request at `index`. */
  setAddress(index: number, address: number): void {
    this.f64[index * 16 + 8] = address;
  }

  /** The length of the first piece of the request at `index`, 0 to 2^31 bytes. */
  setLength(index: number, length: number): void {
    this.u32[index * RECORD_U32 + FIRST_LENGTH_U32] = length;
  }

  /** The flags of the request at `index`, a sum of SendFlags. */
  setFlags(index: number, flags: number): void {
    this.u32[index * RECORD_U32 + FLAGS_U32] = flags;
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
    this.f64[f + REMOTE_ADDRESS_F64] = remoteAddress;
    this.u32[u + OPCODE_U32] = opcode;
    this.u32[u + FLAGS_U32] = flags;
    this.u32[u + IMM_U32] = imm;
    this.u32[u + RKEY_U32] = rkey;
    this.u32[u + SGE_COUNT_U32] = numSge;
  }
}

/**
 * The key that follows `rkey` for the next bind of a memory window: its low byte is the owner's to count
 * (ibv_inc_rkey(3)).
 */
export function nextRkey(rkey: number): number {
  return ((rkey & 0xffffff00) | ((rkey + 1) & 0xff)) >>> 0;
}
