// Receive work requests, of a queue pair or a shared receive queue.
//
// Invariant: as in work-requests.ts.
//
//   receive record, 128 bytes
//   0      8        12         64
//   | wrId | numSge | (unused) | sge[4] of {address f64, length u32, lkey u32}
import { RECORD_F64, RECORD_U32, type ScatterGather, WorkRequests } from './work-requests.js';

/** The receive work requests of one queue pair or shared receive queue, handed down by `postReceive(count)`. */
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
