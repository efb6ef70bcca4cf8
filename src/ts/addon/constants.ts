// The numbers of the verbs ABI, by their names.
//
// Invariant: every value equals its constant in <infiniband/verbs.h>, so native code translates nothing. Mirrored by
// src/native/records.h.

/** Rights of a memory region or queue pair (ibv_access_flags). `LOCAL_READ` needs no flag. */
export const AccessFlags = {
  LOCAL_WRITE: 1,
  REMOTE_WRITE: 2,
  REMOTE_READ: 4,
  REMOTE_ATOMIC: 8,
  /** Memory windows may be bound to the region. */
  MW_BIND: 16,
  /** Addresses in the region count from 0. */
  ZERO_BASED: 32,
  /** On-demand paging: pages are not pinned. */
  ON_DEMAND: 64,
  /** WRITEs may arrive in any order (IBV_ACCESS_RELAXED_ORDERING); ignored by devices without it. */
  RELAXED_ORDERING: 1 << 20,
  /** A connected peer may map the memory ({@link QueuePair.mapRemote}); soft devices only, not of verbs. */
  REMOTE_MAP: 1 << 30,
} as const;

/** Operations of a send queue (ibv_wr_opcode). */
export const WorkOpcode = {
  WRITE: 0,
  WRITE_WITH_IMM: 1,
  SEND: 2,
  SEND_WITH_IMM: 3,
  READ: 4,
  COMPARE_SWAP: 5,
  FETCH_ADD: 6,
  LOCAL_INV: 7,
  BIND_MW: 8,
  SEND_WITH_INV: 9,
} as const;

/** Flags of a send work request (ibv_send_flags). */
export const SendFlags = {
  FENCE: 1,
  SIGNALED: 2,
  SOLICITED: 4,
  INLINE: 8,
} as const;

/** What completed (ibv_wc_opcode). */
export const CompletionOpcode = {
  SEND: 0,
  WRITE: 1,
  READ: 2,
  COMPARE_SWAP: 3,
  FETCH_ADD: 4,
  BIND_MW: 5,
  LOCAL_INV: 6,
  RECEIVE: 128,
  RECEIVE_WITH_IMM: 129,
} as const;

/** Flags of a completion (ibv_wc_flags). */
export const CompletionFlags = {
  /** The first 40 bytes that a datagram's receive got are the global routing header. */
  GRH: 1,
  WITH_IMM: 2,
  /** `imm` is the rkey that the peer's SEND_WITH_INV made invalid here. */
  WITH_INV: 8,
} as const;

/** How a work request ended (ibv_wc_status). */
export const CompletionStatus = {
  SUCCESS: 0,
  LOCAL_LENGTH_ERROR: 1,
  LOCAL_QP_OPERATION_ERROR: 2,
  LOCAL_EEC_OPERATION_ERROR: 3,
  LOCAL_PROTECTION_ERROR: 4,
  FLUSHED: 5,
  MW_BIND_ERROR: 6,
  BAD_RESPONSE: 7,
  LOCAL_ACCESS_ERROR: 8,
  REMOTE_INVALID_REQUEST: 9,
  REMOTE_ACCESS_ERROR: 10,
  REMOTE_OPERATION_ERROR: 11,
  RETRY_EXCEEDED: 12,
  RNR_RETRY_EXCEEDED: 13,
  LOCAL_RDD_VIOLATION: 14,
  REMOTE_INVALID_READ_REQUEST: 15,
  REMOTE_ABORTED: 16,
  INVALID_EEC_NUMBER: 17,
  INVALID_EEC_STATE: 18,
  FATAL: 19,
  RESPONSE_TIMEOUT: 20,
  GENERAL_ERROR: 21,
  TAG_MATCHING_ERROR: 22,
  TAG_MATCHING_RENDEZVOUS_INCOMPLETE: 23,
} as const;

/** States of a queue pair (ibv_qp_state). */
export const QpState = {
  RESET: 0,
  INIT: 1,
  READY_TO_RECEIVE: 2,
  READY_TO_SEND: 3,
  SEND_QUEUE_DRAINED: 4,
  SEND_QUEUE_ERROR: 5,
  ERROR: 6,
} as const;

/** Which attributes a modify carries (ibv_qp_attr_mask). */
export const QpAttributeMask = {
  STATE: 1 << 0,
  CURRENT_STATE: 1 << 1,
  NOTIFY_WHEN_DRAINED: 1 << 2,
  ACCESS_FLAGS: 1 << 3,
  PKEY_INDEX: 1 << 4,
  PORT: 1 << 5,
  QKEY: 1 << 6,
  ADDRESS_VECTOR: 1 << 7,
  PATH_MTU: 1 << 8,
  TIMEOUT: 1 << 9,
  RETRY_COUNT: 1 << 10,
  RNR_RETRY: 1 << 11,
  RQ_PSN: 1 << 12,
  MAX_READ_ATOMIC: 1 << 13,
  MIN_RNR_TIMER: 1 << 15,
  SQ_PSN: 1 << 16,
  MAX_DEST_READ_ATOMIC: 1 << 17,
  DEST_QP_NUM: 1 << 20,
} as const;

/** Types of queue pair (ibv_qp_type). */
export const QpType = { RC: 2, UC: 3, UD: 4 } as const;

/** State of a port (ibv_port_state): 4 is active. */
export const PORT_ACTIVE = 4;

/** Link layers of a port: ibv's numbers, and 3 for the software device. */
export const LinkLayer = { INFINIBAND: 1, ETHERNET: 2, SHARED_MEMORY: 3 } as const;

/** Path MTU in bytes from its code (ibv_mtu): 1 is 256 ... 5 is 4096. */
export function mtuBytes(code: number): number {
  return 128 << code;
}
