// The structs of verbs.h as those of device.h, for all who get them from a library of rdma-core.
//
// Invariant: every field that device.h has is taken over; nothing is left as it was. What the bits of a mask or of
// access flags may be is the caller's to say.
#pragma once

#if __has_include(<infiniband/verbs.h>)

#include <infiniband/verbs.h>

#include <cstring>

#include "device.h"

namespace onepiece {

inline AddressVector FromIbv(const ibv_ah_attr& from) {
  AddressVector path;
  static_assert(sizeof(path.destGid.raw) == sizeof(from.grh.dgid.raw));
  memcpy(path.destGid.raw, from.grh.dgid.raw, sizeof(path.destGid.raw));
  path.isGlobal = from.is_global != 0;
  path.destLid = from.dlid;
  path.gidIndex = from.grh.sgid_index;
  path.hopLimit = from.grh.hop_limit;
  path.serviceLevel = from.sl;
  path.trafficClass = from.grh.traffic_class;
  path.flowLabel = from.grh.flow_label;
  path.sourcePathBits = from.src_path_bits;
  path.port = from.port_num;
  return path;
}

inline QpAttributes FromIbv(const ibv_qp_attr& from, uint32_t mask) {
  QpAttributes to;
  to.mask = mask;
  to.state = static_cast<QpState>(from.qp_state);
  to.currentState = static_cast<QpState>(from.cur_qp_state);
  to.accessFlags = static_cast<uint32_t>(from.qp_access_flags);
  to.pkeyIndex = from.pkey_index;
  to.port = from.port_num;
  to.qkey = from.qkey;
  to.pathMtu = static_cast<uint32_t>(from.path_mtu);
  to.timeout = from.timeout;
  to.retryCount = from.retry_cnt;
  to.rnrRetry = from.rnr_retry;
  to.rqPsn = from.rq_psn;
  to.sqPsn = from.sq_psn;
  to.maxReadAtomic = from.max_rd_atomic;
  to.maxDestReadAtomic = from.max_dest_rd_atomic;
  to.minRnrTimer = from.min_rnr_timer;
  to.destQpNum = from.dest_qp_num;
  to.isDraining = from.sq_draining != 0;
  to.path = FromIbv(from.ah_attr);
  return to;
}

}  // namespace onepiece

#endif
