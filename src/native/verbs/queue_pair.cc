// Queue pairs. Invariant: see queue_pair.h.
#include "queue_pair.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <arpa/inet.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "../from_ibv.h"
#include "address_handle.h"

namespace onepiece::verbs {
namespace {

constexpr uint32_t kKnownSendFlags = kFence | kSignaled | kSolicited | kInline;
constexpr uint32_t kKnownAccess = kLocalWrite | kRemoteWrite | kRemoteRead | kRemoteAtomic;
constexpr uint32_t kKnownMask = kMaskState | kMaskCurrentState | kMaskNotifyWhenDrained | kMaskAccessFlags |
                                kMaskPkeyIndex | kMaskPort | kMaskQkey | kMaskAddressVector | kMaskPathMtu | kMaskTimeout | kMaskRetryCount |
                                kMaskRnrRetry | kMaskRqPsn | kMaskMaxReadAtomic | kMaskMinRnrTimer | kMaskSqPsn |
                                kMaskMaxDestReadAtomic | kMaskDestQpNum;

// The numbers of device.h are those of verbs.h.
constexpr bool Same(uint32_t ours, uint32_t theirs) { return ours == theirs; }
static_assert(Same(kMaskState, IBV_QP_STATE) && Same(kMaskCurrentState, IBV_QP_CUR_STATE) &&
              Same(kMaskNotifyWhenDrained, IBV_QP_EN_SQD_ASYNC_NOTIFY) && Same(kMaskAccessFlags, IBV_QP_ACCESS_FLAGS) &&
              Same(kMaskPkeyIndex, IBV_QP_PKEY_INDEX) && Same(kMaskPort, IBV_QP_PORT) && Same(kMaskQkey, IBV_QP_QKEY) && Same(kMaskAddressVector, IBV_QP_AV) &&
              Same(kMaskPathMtu, IBV_QP_PATH_MTU) && Same(kMaskTimeout, IBV_QP_TIMEOUT) &&
              Same(kMaskRetryCount, IBV_QP_RETRY_CNT) && Same(kMaskRnrRetry, IBV_QP_RNR_RETRY) &&
              Same(kMaskRqPsn, IBV_QP_RQ_PSN) && Same(kMaskMaxReadAtomic, IBV_QP_MAX_QP_RD_ATOMIC) &&
              Same(kMaskMinRnrTimer, IBV_QP_MIN_RNR_TIMER) && Same(kMaskSqPsn, IBV_QP_SQ_PSN) &&
              Same(kMaskMaxDestReadAtomic, IBV_QP_MAX_DEST_RD_ATOMIC) && Same(kMaskDestQpNum, IBV_QP_DEST_QPN));
static_assert(Same(kFence, IBV_SEND_FENCE) && Same(kSignaled, IBV_SEND_SIGNALED) &&
              Same(kSolicited, IBV_SEND_SOLICITED) && Same(kInline, IBV_SEND_INLINE));
static_assert(Same(kLocalWrite, IBV_ACCESS_LOCAL_WRITE) && Same(kRemoteWrite, IBV_ACCESS_REMOTE_WRITE) &&
              Same(kRemoteRead, IBV_ACCESS_REMOTE_READ) && Same(kRemoteAtomic, IBV_ACCESS_REMOTE_ATOMIC));
static_assert(static_cast<uint32_t>(WorkOpcode::kFetchAdd) == IBV_WR_ATOMIC_FETCH_AND_ADD &&
              static_cast<uint32_t>(WorkOpcode::kWriteWithImm) == IBV_WR_RDMA_WRITE_WITH_IMM &&
              static_cast<uint32_t>(WorkOpcode::kLocalInvalidate) == IBV_WR_LOCAL_INV &&
              static_cast<uint32_t>(WorkOpcode::kBindMw) == IBV_WR_BIND_MW &&
              static_cast<uint32_t>(WorkOpcode::kSendWithInvalidate) == IBV_WR_SEND_WITH_INV);
static_assert(static_cast<uint32_t>(QpType::kReliable) == IBV_QPT_RC &&
              static_cast<uint32_t>(QpType::kUnreliable) == IBV_QPT_UC &&
              static_cast<uint32_t>(QpType::kDatagram) == IBV_QPT_UD);
static_assert(static_cast<uint32_t>(QpState::kError) == IBV_QPS_ERR);

}  // namespace

int QueuePair::Create(const std::shared_ptr<Domain>& domain, const QpInit& init,
                      std::unique_ptr<onepiece::QueuePair>* out) {
  CompletionQueue* sendCq = CompletionQueue::Of(*domain->context, init.sendCq);
  CompletionQueue* receiveCq = CompletionQueue::Of(*domain->context, init.receiveCq);
  if (sendCq == nullptr || receiveCq == nullptr) return -EINVAL;
  std::shared_ptr<SharedReceives> shared;
  if (init.srq != nullptr) {
    SharedReceiveQueue* own = SharedReceiveQueue::Of(*domain->context, init.srq);
    if (own == nullptr) return -EINVAL;
    shared = own->Shared();
  }

  ibv_qp_init_attr attr;
  memset(&attr, 0, sizeof(attr));
  attr.send_cq = sendCq->Shared()->raw;
  attr.recv_cq = receiveCq->Shared()->raw;
  attr.srq = shared ? shared->raw : nullptr;
  attr.cap.max_send_wr = init.capabilities.maxSendWr;
  attr.cap.max_recv_wr = init.capabilities.maxRecvWr;
  attr.cap.max_send_sge = init.capabilities.maxSendSge;
  attr.cap.max_recv_sge = init.capabilities.maxRecvSge;
  attr.cap.max_inline_data = init.capabilities.maxInlineData;
  attr.qp_type = static_cast<ibv_qp_type>(init.type);
  attr.sq_sig_all = init.signalAll ? 1 : 0;
  errno = 0;
  ibv_qp* raw = domain->context->library.create_qp(domain->raw, &attr);
  if (raw == nullptr) return LastError();
  auto* pair = new (std::nothrow)
      QueuePair(domain, sendCq->Shared(), receiveCq->Shared(), std::move(shared), raw, attr.cap);
  if (pair == nullptr) {
    domain->context->library.destroy_qp(raw);
    return -ENOMEM;
  }
  out->reset(pair);
  return 0;
}

QueuePair::QueuePair(std::shared_ptr<Domain> domain, std::shared_ptr<Completions> sends,
                     std::shared_ptr<Completions> receives, std::shared_ptr<SharedReceives> shared, ibv_qp* raw,
                     const ibv_qp_cap& granted)
    : domain_(std::move(domain)),
      sends_(std::move(sends)),
      receives_(std::move(receives)),
      shared_(std::move(shared)),
      raw_(raw),
      number_(raw->qp_num) {
  if (raw->qp_type == IBV_QPT_UD) receives_->datagrams++;
  granted_.maxSendWr = granted.max_send_wr;
  granted_.maxRecvWr = granted.max_recv_wr;
  granted_.maxSendSge = std::min<uint32_t>(granted.max_send_sge, kMaxSge);  // what a record can say
  granted_.maxRecvSge = std::min<uint32_t>(granted.max_recv_sge, kMaxSge);
  granted_.maxInlineData = granted.max_inline_data;
}

int QueuePair::Modify(const QpAttributes& from) {
  if (raw_ == nullptr) return -EBADF;
  if ((from.mask & ~kKnownMask) != 0) return -EINVAL;
  bool valid = true;
  const auto given = [&](uint32_t mask) { return (from.mask & mask) != 0; };
  const auto byte = [&](uint32_t mask, uint32_t value) {
    if (!given(mask)) return uint8_t{0};
    if (value > UINT8_MAX) valid = false;
    return static_cast<uint8_t>(value);
  };
  if (given(kMaskState) && from.state > QpState::kError) return -EINVAL;
  if (given(kMaskCurrentState) && from.currentState > QpState::kError) return -EINVAL;
  if (given(kMaskPathMtu) && (from.pathMtu < IBV_MTU_256 || from.pathMtu > IBV_MTU_4096)) return -EINVAL;
  if (given(kMaskAccessFlags) && (from.accessFlags & ~kKnownAccess) != 0) return -EINVAL;

  ibv_qp_attr attr;
  memset(&attr, 0, sizeof(attr));
  if (given(kMaskState)) attr.qp_state = static_cast<ibv_qp_state>(from.state);
  if (given(kMaskCurrentState)) attr.cur_qp_state = static_cast<ibv_qp_state>(from.currentState);
  if (given(kMaskPathMtu)) attr.path_mtu = static_cast<ibv_mtu>(from.pathMtu);
  if (given(kMaskAccessFlags)) attr.qp_access_flags = from.accessFlags;
  if (given(kMaskPkeyIndex) && from.pkeyIndex > UINT16_MAX) return -EINVAL;
  attr.pkey_index = static_cast<uint16_t>(from.pkeyIndex);
  attr.port_num = byte(kMaskPort, from.port);
  attr.qkey = from.qkey;
  attr.timeout = byte(kMaskTimeout, from.timeout);
  attr.retry_cnt = byte(kMaskRetryCount, from.retryCount);
  attr.rnr_retry = byte(kMaskRnrRetry, from.rnrRetry);
  attr.rq_psn = from.rqPsn;
  attr.sq_psn = from.sqPsn;
  attr.max_rd_atomic = byte(kMaskMaxReadAtomic, from.maxReadAtomic);
  attr.max_dest_rd_atomic = byte(kMaskMaxDestReadAtomic, from.maxDestReadAtomic);
  attr.min_rnr_timer = byte(kMaskMinRnrTimer, from.minRnrTimer);
  attr.dest_qp_num = from.destQpNum;
  attr.en_sqd_async_notify = from.notifyWhenDrained ? 1 : 0;
  if (given(kMaskAddressVector)) {
    const uint8_t port = from.path.port != 0 ? byte(kMaskAddressVector, from.path.port) : port_;
    if (!ToAhAttr(from.path, given(kMaskPort) ? attr.port_num : port, &attr.ah_attr)) return -EINVAL;
  }
  if (!valid) return -EINVAL;

  const int error = Ask(domain_->context->library.modify_qp, raw_, &attr, static_cast<int>(from.mask));
  if (error != 0) return error;
  if (given(kMaskState)) state_ = from.state;
  if (given(kMaskPort)) port_ = attr.port_num;
  return 0;
}

int QueuePair::Query(QpAttributes* out) {
  if (raw_ == nullptr) return -EBADF;
  ibv_qp_attr attr;
  ibv_qp_init_attr unused;
  memset(&attr, 0, sizeof(attr));
  memset(&unused, 0, sizeof(unused));
  const int error =
      Ask(domain_->context->library.query_qp, raw_, &attr, static_cast<int>(kKnownMask | IBV_QP_CAP), &unused);
  if (error != 0) return error;
  *out = FromIbv(attr, kKnownMask);
  out->accessFlags &= kKnownAccess;
  return 0;
}

bool QueuePair::Translate(const SendRecord& record, int slot) {
  if (record.opcode > static_cast<uint32_t>(WorkOpcode::kSendWithInvalidate)) return false;
  if ((record.flags & ~kKnownSendFlags) != 0 || record.numSge > granted_.maxSendSge) return false;
  ibv_send_wr& work = sendChain_.work(slot);
  ibv_sge* sge = sendChain_.sge(slot);
  if (!ToSge(record.sge, record.numSge, sge)) return false;
  work.wr_id = std::bit_cast<uint64_t>(record.wrId);
  work.num_sge = static_cast<int>(record.numSge);
  work.opcode = static_cast<ibv_wr_opcode>(record.opcode);
  work.send_flags = record.flags;
  work.imm_data = htonl(record.imm);
  const auto opcode = static_cast<WorkOpcode>(record.opcode);
  const bool isSend = opcode == WorkOpcode::kSend || opcode == WorkOpcode::kSendWithImm ||
                      opcode == WorkOpcode::kSendWithInvalidate;
  const bool isWrite = opcode == WorkOpcode::kWrite || opcode == WorkOpcode::kWriteWithImm;
  if ((record.flags & kInline) != 0) {
    // The driver copies inline data here and now, without looking at the key: a wrong address would end the process.
    if (!isSend && !isWrite) return false;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < record.numSge; ++i) {
      if (sge[i].length != 0 && !domain_->Holds(sge[i].addr, sge[i].length)) return false;
      bytes += sge[i].length;
    }
    if (bytes > granted_.maxInlineData) return false;
  }
  if (raw_->qp_type == IBV_QPT_UD) {
    if (opcode != WorkOpcode::kSend && opcode != WorkOpcode::kSendWithImm) return false;
    work.wr.ud.ah = domain_->handles.Get(record.addressHandle);
    work.wr.ud.remote_qpn = record.remoteQpn;
    work.wr.ud.remote_qkey = record.remoteQkey;
    return work.wr.ud.ah != nullptr;
  }
  if (opcode == WorkOpcode::kSendWithInvalidate || opcode == WorkOpcode::kLocalInvalidate) {
    work.invalidate_rkey = record.rkey;
    return true;
  }
  if (isSend) return true;
  if (opcode == WorkOpcode::kBindMw) return TranslateBind(record, work);
  uint64_t remote;
  if (!ToAddress(record.remoteAddress, &remote)) return false;
  if (opcode == WorkOpcode::kCompareSwap || opcode == WorkOpcode::kFetchAdd) {
    work.wr.atomic.remote_addr = remote;
    work.wr.atomic.rkey = record.rkey;
    work.wr.atomic.compare_add = record.compareAdd;
    work.wr.atomic.swap = record.swap;
  } else {
    work.wr.rdma.remote_addr = remote;
    work.wr.rdma.rkey = record.rkey;
  }
  return true;
}

bool QueuePair::TranslateBind(const SendRecord& record, ibv_send_wr& work) {
  const BindView bind(record);
  ibv_mw* window = domain_->windows.Get(bind.window());
  const auto region = domain_->keys.find(bind.lkey());
  uint64_t address;
  if (window == nullptr || region == domain_->keys.end() || !ToAddress(bind.address(), &address)) return false;
  // The key that the window has now is the program's knowledge, as in C, where it stores into mw->rkey.
  window->rkey = bind.presentKey();
  work.imm_data = 0;  // drivers refuse a bind with one
  work.bind_mw.mw = window;
  work.bind_mw.rkey = bind.newKey();
  work.bind_mw.bind_info.mr = region->second;
  work.bind_mw.bind_info.addr = address;
  work.bind_mw.bind_info.length = bind.length();
  work.bind_mw.bind_info.mw_access_flags = bind.access();
  work.num_sge = 0;
  return true;
}

int QueuePair::PostSend(const SendRecord* records, int count, int* taken) {
  *taken = 0;
  if (raw_ == nullptr) return -EBADF;
  if (count < 0 || state_ < QpState::kReadyToSend) return -EINVAL;
  return sendChain_.PostAll(
      records, count, taken, [this](const SendRecord& record, int slot) { return Translate(record, slot); },
      [this](ibv_send_wr* chain, ibv_send_wr** bad) { return ibv_post_send(raw_, chain, bad); });
}

int QueuePair::PostReceive(const ReceiveRecord* records, int count, int* taken) {
  *taken = 0;
  if (raw_ == nullptr) return -EBADF;
  if (count < 0 || state_ < QpState::kInit || shared_) return -EINVAL;
  return receiveChain_.Post(records, count, granted_.maxRecvSge, taken, [this](ibv_recv_wr* chain, ibv_recv_wr** bad) {
    return ibv_post_recv(raw_, chain, bad);
  });
}

int QueuePair::Raw(RawNumbers* out) {
  if (raw_ == nullptr) return -EBADF;
  *out = {reinterpret_cast<uintptr_t>(raw_), raw_->handle, -1, -1};
  return 0;
}

int QueuePair::Close() {
  if (raw_ == nullptr) return 0;
  const bool isDatagram = raw_->qp_type == IBV_QPT_UD;
  const int error = Ask(domain_->context->library.destroy_qp, raw_);
  if (error != 0) return error;
  if (isDatagram) receives_->datagrams--;
  raw_ = nullptr;
  sends_.reset();
  receives_.reset();
  shared_.reset();
  domain_.reset();
  return 0;
}

}  // namespace onepiece::verbs

#endif
