// Queue pairs. Invariant: see queue_pair.h.
#include "queue_pair.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <arpa/inet.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

namespace onepiece::verbs {
namespace {

constexpr uint32_t kKnownSendFlags = kFence | kSignaled | kSolicited | kInline;
constexpr uint32_t kKnownAccess = kLocalWrite | kRemoteWrite | kRemoteRead | kRemoteAtomic;
constexpr uint32_t kKnownMask = kMaskState | kMaskCurrentState | kMaskAccessFlags | kMaskPkeyIndex | kMaskPort |
                                kMaskQkey | kMaskAddressVector | kMaskPathMtu | kMaskTimeout | kMaskRetryCount |
                                kMaskRnrRetry | kMaskRqPsn | kMaskMaxReadAtomic | kMaskMinRnrTimer | kMaskSqPsn |
                                kMaskMaxDestReadAtomic | kMaskDestQpNum;

// The numbers of device.h are those of verbs.h.
constexpr bool Same(uint32_t ours, uint32_t theirs) { return ours == theirs; }
static_assert(Same(kMaskState, IBV_QP_STATE) && Same(kMaskCurrentState, IBV_QP_CUR_STATE) &&
              Same(kMaskAccessFlags, IBV_QP_ACCESS_FLAGS) && Same(kMaskPkeyIndex, IBV_QP_PKEY_INDEX) &&
              Same(kMaskPort, IBV_QP_PORT) && Same(kMaskQkey, IBV_QP_QKEY) && Same(kMaskAddressVector, IBV_QP_AV) &&
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
              static_cast<uint32_t>(WorkOpcode::kWriteWithImm) == IBV_WR_RDMA_WRITE_WITH_IMM);
static_assert(static_cast<uint32_t>(QpState::kError) == IBV_QPS_ERR);

bool ToSge(const SgeRecord* records, uint32_t count, ibv_sge* out) {
  for (uint32_t i = 0; i < count; ++i) {
    uint64_t address;
    if (!ToAddress(records[i].address, &address)) return false;
    out[i].addr = address;
    out[i].length = records[i].length;
    out[i].lkey = records[i].lkey;
  }
  return true;
}

// How many of a chunk the driver took before the one that it calls bad.
template <typename Work>
int TakenBefore(const Work* bad, const Work* chunk, int length) {
  if (bad < chunk || bad >= chunk + length) return 0;
  return static_cast<int>(bad - chunk);
}

// The loop that sends and receives share: translate up to a chunk, post it in one call, go on.
template <typename Record, typename Work, typename Translate, typename Post>
int PostInChunks(const Record* records, int count, int* taken, Work* chunk, int chunkLength, Translate translate,
                 Post post) {
  while (*taken < count) {
    const int wanted = std::min(count - *taken, chunkLength);
    int ready = 0;
    while (ready < wanted && translate(records[*taken + ready], ready)) ++ready;
    if (ready > 0) {
      Work* const next = chunk[ready - 1].next;
      chunk[ready - 1].next = nullptr;
      Work* bad = nullptr;
      errno = 0;
      const int error = Answer(post(chunk, &bad));
      chunk[ready - 1].next = next;
      if (error != 0) {
        *taken += TakenBefore(bad, chunk, ready);
        return error;
      }
      *taken += ready;
    }
    if (ready < wanted) return -EINVAL;
  }
  return 0;
}

}  // namespace

int QueuePair::Create(const std::shared_ptr<Domain>& domain, const QpInit& init,
                      std::unique_ptr<onepiece::QueuePair>* out) {
  if (init.type != IBV_QPT_RC && init.type != IBV_QPT_UC && init.type != IBV_QPT_UD) return -EINVAL;
  CompletionQueue* sendCq = CompletionQueue::Of(*domain->context, init.sendCq);
  CompletionQueue* receiveCq = CompletionQueue::Of(*domain->context, init.receiveCq);
  if (sendCq == nullptr || receiveCq == nullptr) return -EINVAL;

  ibv_qp_init_attr attr;
  memset(&attr, 0, sizeof(attr));
  attr.send_cq = sendCq->Shared()->raw;
  attr.recv_cq = receiveCq->Shared()->raw;
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
  auto* pair = new (std::nothrow) QueuePair(domain, sendCq->Shared(), receiveCq->Shared(), raw, attr.cap);
  if (pair == nullptr) {
    domain->context->library.destroy_qp(raw);
    return -ENOMEM;
  }
  out->reset(pair);
  return 0;
}

QueuePair::QueuePair(std::shared_ptr<Domain> domain, std::shared_ptr<Completions> sends,
                     std::shared_ptr<Completions> receives, ibv_qp* raw, const ibv_qp_cap& granted)
    : domain_(std::move(domain)),
      sends_(std::move(sends)),
      receives_(std::move(receives)),
      raw_(raw),
      number_(raw->qp_num) {
  granted_.maxSendWr = granted.max_send_wr;
  granted_.maxRecvWr = granted.max_recv_wr;
  granted_.maxSendSge = std::min<uint32_t>(granted.max_send_sge, kMaxSge);  // what a record can say
  granted_.maxRecvSge = std::min<uint32_t>(granted.max_recv_sge, kMaxSge);
  granted_.maxInlineData = granted.max_inline_data;
  memset(sendWork_, 0, sizeof(sendWork_));
  memset(sendSge_, 0, sizeof(sendSge_));
  memset(receiveWork_, 0, sizeof(receiveWork_));
  memset(receiveSge_, 0, sizeof(receiveSge_));
  for (int i = 0; i < kPostChunk; ++i) {
    sendWork_[i].sg_list = sendSge_[i];
    receiveWork_[i].sg_list = receiveSge_[i];
    if (i + 1 == kPostChunk) break;
    sendWork_[i].next = &sendWork_[i + 1];
    receiveWork_[i].next = &receiveWork_[i + 1];
  }
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
  const auto word = [&](uint32_t mask, uint32_t value) {
    if (!given(mask)) return uint16_t{0};
    if (value > UINT16_MAX) valid = false;
    return static_cast<uint16_t>(value);
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
  attr.pkey_index = word(kMaskPkeyIndex, from.pkeyIndex);
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
  if (given(kMaskAddressVector)) {
    attr.ah_attr.port_num = from.port != 0 ? byte(kMaskAddressVector, from.port) : port_;
    attr.ah_attr.dlid = word(kMaskAddressVector, from.destLid);
    attr.ah_attr.sl = byte(kMaskAddressVector, from.serviceLevel);
    attr.ah_attr.is_global = from.isGlobal ? 1 : 0;
    if (from.isGlobal) {
      memcpy(attr.ah_attr.grh.dgid.raw, from.destGid.raw, sizeof(from.destGid.raw));
      attr.ah_attr.grh.sgid_index = byte(kMaskAddressVector, from.gidIndex);
      attr.ah_attr.grh.hop_limit = byte(kMaskAddressVector, from.hopLimit);
      attr.ah_attr.grh.traffic_class = byte(kMaskAddressVector, from.trafficClass);
    }
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
  *out = QpAttributes{};
  out->mask = kKnownMask;
  out->state = static_cast<QpState>(attr.qp_state);
  out->currentState = static_cast<QpState>(attr.cur_qp_state);
  out->accessFlags = attr.qp_access_flags & kKnownAccess;
  out->pkeyIndex = attr.pkey_index;
  out->port = attr.port_num;
  out->qkey = attr.qkey;
  out->pathMtu = static_cast<uint32_t>(attr.path_mtu);
  out->timeout = attr.timeout;
  out->retryCount = attr.retry_cnt;
  out->rnrRetry = attr.rnr_retry;
  out->rqPsn = attr.rq_psn;
  out->sqPsn = attr.sq_psn;
  out->maxReadAtomic = attr.max_rd_atomic;
  out->maxDestReadAtomic = attr.max_dest_rd_atomic;
  out->minRnrTimer = attr.min_rnr_timer;
  out->destQpNum = attr.dest_qp_num;
  out->destLid = attr.ah_attr.dlid;
  memcpy(out->destGid.raw, attr.ah_attr.grh.dgid.raw, sizeof(out->destGid.raw));
  out->isGlobal = attr.ah_attr.is_global != 0;
  out->gidIndex = attr.ah_attr.grh.sgid_index;
  out->hopLimit = attr.ah_attr.grh.hop_limit;
  out->serviceLevel = attr.ah_attr.sl;
  out->trafficClass = attr.ah_attr.grh.traffic_class;
  return 0;
}

bool QueuePair::Translate(const SendRecord& record, int slot) {
  if (record.opcode > static_cast<uint32_t>(WorkOpcode::kFetchAdd)) return false;
  if ((record.flags & ~kKnownSendFlags) != 0 || record.numSge > granted_.maxSendSge) return false;
  ibv_send_wr& work = sendWork_[slot];
  ibv_sge* sge = sendSge_[slot];
  if (!ToSge(record.sge, record.numSge, sge)) return false;
  work.wr_id = std::bit_cast<uint64_t>(record.wrId);
  work.num_sge = static_cast<int>(record.numSge);
  work.opcode = static_cast<ibv_wr_opcode>(record.opcode);
  work.send_flags = record.flags;
  work.imm_data = htonl(record.imm);
  const auto opcode = static_cast<WorkOpcode>(record.opcode);
  if ((record.flags & kInline) != 0) {
    // The driver copies inline data here and now, without looking at the key: a wrong address would end the process.
    if (opcode == WorkOpcode::kRead || opcode >= WorkOpcode::kCompareSwap) return false;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < record.numSge; ++i) {
      if (sge[i].length != 0 && !domain_->Holds(sge[i].addr, sge[i].length)) return false;
      bytes += sge[i].length;
    }
    if (bytes > granted_.maxInlineData) return false;
  }
  if (opcode == WorkOpcode::kCompareSwap || opcode == WorkOpcode::kFetchAdd) {
    work.wr.atomic.rkey = record.rkey;
    work.wr.atomic.compare_add = record.compareAdd;
    work.wr.atomic.swap = record.swap;
    uint64_t remote;
    if (!ToAddress(record.remoteAddress, &remote)) return false;
    work.wr.atomic.remote_addr = remote;
  } else if (opcode != WorkOpcode::kSend && opcode != WorkOpcode::kSendWithImm) {
    work.wr.rdma.rkey = record.rkey;
    uint64_t remote;
    if (!ToAddress(record.remoteAddress, &remote)) return false;
    work.wr.rdma.remote_addr = remote;
  }
  return true;
}

bool QueuePair::Translate(const ReceiveRecord& record, int slot) {
  if (record.numSge > granted_.maxRecvSge) return false;
  ibv_recv_wr& work = receiveWork_[slot];
  if (!ToSge(record.sge, record.numSge, receiveSge_[slot])) return false;
  work.wr_id = std::bit_cast<uint64_t>(record.wrId);
  work.num_sge = static_cast<int>(record.numSge);
  return true;
}

int QueuePair::PostSend(const SendRecord* records, int count, int* taken) {
  *taken = 0;
  if (raw_ == nullptr) return -EBADF;
  if (raw_->qp_type == IBV_QPT_UD) return -ENOTSUP;  // no address handles in device.h
  if (count < 0 || state_ < QpState::kReadyToSend) return -EINVAL;
  return PostInChunks(
      records, count, taken, sendWork_, kPostChunk,
      [this](const SendRecord& record, int slot) { return Translate(record, slot); },
      [this](ibv_send_wr* chain, ibv_send_wr** bad) { return ibv_post_send(raw_, chain, bad); });
}

int QueuePair::PostReceive(const ReceiveRecord* records, int count, int* taken) {
  *taken = 0;
  if (raw_ == nullptr) return -EBADF;
  if (count < 0 || state_ < QpState::kInit) return -EINVAL;
  return PostInChunks(
      records, count, taken, receiveWork_, kPostChunk,
      [this](const ReceiveRecord& record, int slot) { return Translate(record, slot); },
      [this](ibv_recv_wr* chain, ibv_recv_wr** bad) { return ibv_post_recv(raw_, chain, bad); });
}

int QueuePair::Close() {
  if (raw_ == nullptr) return 0;
  const int error = Ask(domain_->context->library.destroy_qp, raw_);
  if (error != 0) return error;
  raw_ = nullptr;
  sends_.reset();
  receives_.reset();
  domain_.reset();
  return 0;
}

}  // namespace onepiece::verbs

#endif
