// The owner's side of a queue pair: creation, posting, polling. States are in states.cc, the engine is in engine.cc.
// Invariant: see queue_pair.h.
#include "queue_pair.h"

#include <errno.h>
#include <string.h>

#include <algorithm>
#include <bit>

#include "address_handle.h"
#include "shared_receive_queue.h"

namespace onepiece::soft {

namespace {

constexpr uint32_t kKnownSendFlags = kFence | kSignaled | kSolicited | kInline;
// What is more than this in one post is left to the engine thread from the beginning: the event loop, which posts, must
// not stand still, and each megabyte into pages that nobody has touched yet costs it as much as five others.
constexpr uint64_t kPostedBytes = 4u << 20;

// What a completion says after a failure: ibv_poll_cq(3) defines nothing more.
void Fail(CompletionRecord* out, double wrId, CompletionStatus status, uint32_t number) {
  *out = CompletionRecord{};
  out->wrId = wrId;
  out->status = static_cast<uint32_t>(status);
  out->qpNum = number;
}

}  // namespace

int QueuePair::Create(ProtectionDomain& pd, const QpInit& init, std::unique_ptr<onepiece::QueuePair>* out) {
  bool isDatagram = init.type == QpType::kDatagram;
  if (isDatagram && init.srq != nullptr) return -ENOTSUP;
  const QpCapabilities& wanted = init.capabilities;
  CompletionQueue* sendCq = CompletionQueue::Of(pd.context(), init.sendCq);
  CompletionQueue* receiveCq = CompletionQueue::Of(pd.context(), init.receiveCq);
  if (sendCq == nullptr || receiveCq == nullptr) return -EINVAL;
  SharedReceiveQueue* srq = nullptr;
  if (init.srq != nullptr) {
    srq = SharedReceiveQueue::Of(pd.context(), init.srq);
    if (srq == nullptr) return -EINVAL;
  }
  if (wanted.maxSendWr == 0 || wanted.maxSendWr > kMaxQpWr || wanted.maxRecvWr > kMaxQpWr) return -EINVAL;
  if (wanted.maxSendSge > kMaxSge || wanted.maxRecvSge > kMaxSge || wanted.maxInlineData > kMaxInlineData) {
    return -EINVAL;
  }
  std::unique_ptr<QueuePair> qp(new (std::nothrow) QueuePair(pd));
  if (!qp) return -ENOMEM;
  Context& context = pd.context();
  uint32_t rqCapacity = std::bit_ceil(std::max(srq != nullptr ? 1u : wanted.maxRecvWr, 1u));
  int rc = 0;
  if (srq != nullptr) {
    qp->shared_ = srq->receives();
    rqCapacity = qp->shared_->capacity();
  } else if (isDatagram) {
    rc = context.TakeDatagramReceives(pd.number(), rqCapacity, &qp->shared_);
    if (rc != 0) return rc;
  }
  uint64_t ringBytes = isDatagram ? 0 : rqCapacity * (srq != nullptr ? sizeof(uint64_t) : sizeof(RqEntry));
  uint64_t ringOffset = 0;
  if (ringBytes != 0 && !context.ranges.Take(ringBytes, &ringOffset)) return -ENOMEM;
  uint32_t number = 0;
  rc = context.AddQp(qp.get(), &number);
  if (rc != 0) {
    if (ringBytes != 0) context.ranges.Give(ringOffset, ringBytes);
    if (isDatagram) context.datagramReceives.push_back(qp->shared_);
    return rc;
  }
  qp->closed_ = false;
  qp->number_ = number;
  qp->ringOffset_ = ringOffset;
  qp->ringBytes_ = ringBytes;
  qp->rqCapacity_ = rqCapacity;
  qp->sendCq_ = sendCq;
  qp->receiveCq_ = receiveCq;
  qp->type_ = init.type;
  qp->signalAll_ = init.signalAll;
  qp->capabilities_ = wanted;
  qp->capabilities_.maxRecvWr = wanted.maxRecvWr == 0 || srq != nullptr ? 0 : rqCapacity;
  uint32_t sqCapacity = std::bit_ceil(wanted.maxSendWr);
  qp->capabilities_.maxSendWr = sqCapacity;
  qp->capabilities_.maxSendSge = std::max(wanted.maxSendSge, 1u);
  qp->capabilities_.maxRecvSge = std::max(wanted.maxRecvSge, 1u);
  qp->sqMask_ = sqCapacity - 1;
  qp->sq_.resize(sqCapacity);
  qp->cqeMask_ = 2 * sqCapacity - 1;
  qp->sendCqes_.resize(size_t{2} * sqCapacity);
  qp->inlineData_.resize(size_t{sqCapacity} * wanted.maxInlineData);
  if (isDatagram) {
    qp->sqPeers_.resize(sqCapacity);
    qp->datagramReceives_.resize(rqCapacity);
  }
  pd.children++;
  if (srq != nullptr) qp->shared_->users++;
  sendCq->users++;
  receiveCq->users++;

  QpSlot& slot = qp->slot();
  slot.pd = pd.number();
  slot.receiveCq = receiveCq->index();
  slot.access = 0;
  slot.peerNonce = 0;
  slot.peerNumber = 0;
  slot.rqCapacity = rqCapacity;
  slot.rqOffset = ringOffset;
  slot.type = static_cast<uint32_t>(init.type);
  slot.qkey = 0;
  slot.srq = qp->shared_ ? qp->shared_->index() : 0;
  slot.events.store(0);
  qp->ClearRing();
  slot.busy.store(0);
  slot.state.store(static_cast<uint32_t>(QpState::kReset));
  slot.number.store(number);
  *out = std::move(qp);
  return 0;
}

int QueuePair::Validate(const SendRecord& record, uint64_t* length) const {
  auto opcode = static_cast<WorkOpcode>(record.opcode);
  bool isInline = (record.flags & kInline) != 0;
  bool isSend = opcode == WorkOpcode::kSend || opcode == WorkOpcode::kSendWithImm;
  bool isAtomic = opcode == WorkOpcode::kCompareSwap || opcode == WorkOpcode::kFetchAdd;
  bool isLocal = opcode == WorkOpcode::kBindMw || opcode == WorkOpcode::kLocalInvalidate;
  if (opcode > WorkOpcode::kSendWithInvalidate) return -EINVAL;
  if (IsDatagram() && !isSend) return -EINVAL;
  if (isInline && (opcode == WorkOpcode::kRead || isAtomic || isLocal)) return -EINVAL;
  if (isLocal && record.numSge != 0) return -EINVAL;
  if ((record.flags & ~kKnownSendFlags) != 0 || record.numSge > capabilities_.maxSendSge) return -EINVAL;
  uint64_t address = 0;
  bool hasAddress = !isSend && opcode != WorkOpcode::kSendWithInvalidate && opcode != WorkOpcode::kLocalInvalidate;
  if (hasAddress && !ToAddress(record.remoteAddress, &address)) return -EINVAL;
  *length = 0;
  for (uint32_t i = 0; i < record.numSge; i++) {
    if (!ToAddress(record.sge[i].address, &address)) return -EINVAL;
    *length += record.sge[i].length;
  }
  if (*length > 1u << 31) return -EINVAL;
  if (isAtomic && *length < sizeof(uint64_t)) return -EINVAL;
  if (isInline && *length > capabilities_.maxInlineData) return -EINVAL;
  return 0;
}

int QueuePair::PostSend(const SendRecord* records, int count, int* taken) {
  QpState state = this->state();
  *taken = 0;
  if (state != QpState::kReadyToSend && state != QpState::kError && state != QpState::kSendQueueDrained) return -EINVAL;
  uint64_t tail = sqTail_.load(std::memory_order_relaxed);
  uint64_t used = tail - sqHead_.load(std::memory_order_acquire) + cqeTail_.load(std::memory_order_acquire) -
                  cqeHead_.load(std::memory_order_relaxed);
  int rc = 0;
  int n = 0;
  uint64_t bytes = 0;
  for (; n < count; n++) {
    uint64_t length = 0;
    rc = Validate(records[n], &length);
    if (rc == 0 && used + static_cast<uint64_t>(n) > sqMask_) rc = -ENOMEM;
    if (rc == 0) rc = TakeRecord(records[n], length, tail);
    if (rc != 0) break;
    bytes += length;
    tail++;
  }
  *taken = n;
  if (n == 0) return rc;
  sqTail_.store(tail);
  if (bytes > kPostedBytes) {
    context().Schedule(this, 0);
  } else {
    ProgressFromPost();
  }
  return rc;
}

// Copies a record that is in order into the send queue.
int QueuePair::TakeRecord(const SendRecord& record, uint64_t length, uint64_t tail) {
  WorkRequest& request = sq_[tail & sqMask_];
  request.wrId = record.wrId;
  if (!ToAddress(record.remoteAddress, &request.remoteAddress)) request.remoteAddress = 0;  // a SEND has none
  request.done = 0;
  request.length = length;
  request.compareAdd = record.compareAdd;
  request.swap = record.swap;
  request.opcode = record.opcode;
  request.flags = record.flags;
  request.imm = record.imm;
  request.rkey = record.rkey;
  request.numSge = record.numSge;
  request.object = record.addressHandle;
  request.remoteQpn = record.remoteQpn;
  request.remoteQkey = record.remoteQkey;
  if (IsDatagram()) {
    auto found = context().handles.find(record.addressHandle);
    if (found == context().handles.end() || &found->second->pd() != &pd_) return -EINVAL;
    sqPeers_[tail & sqMask_] = found->second->peer();
  }
  if ((record.flags & kInline) == 0) {
    for (uint32_t i = 0; i < record.numSge; i++) request.sge[i] = record.sge[i];
    return 0;
  }
  uint8_t* data = inlineData_.data() + (tail & sqMask_) * capabilities_.maxInlineData;
  uint64_t at = 0;
  for (uint32_t i = 0; i < record.numSge; i++) {
    const uint8_t* source = ResolveLocal(record.sge[i], false);
    if (source == nullptr) return -EINVAL;
    memcpy(data + at, source, record.sge[i].length);
    at += record.sge[i].length;
  }
  request.numSge = 1;
  request.sge[0] = {static_cast<double>(reinterpret_cast<uintptr_t>(data)), static_cast<uint32_t>(length), 0};
  return 0;
}

// From what this process knows itself: peers can write into the directory.
uint8_t* QueuePair::ResolveLocal(const SgeRecord& sge, bool write) const {
  const MrSlot& mr = context().localMr(MrIndex(sge.lkey));
  auto address = static_cast<uint64_t>(sge.address);
  if (sge.lkey == 0 || mr.key.load() != sge.lkey || mr.pd != pd_.number() || mr.boundQp != 0) return nullptr;
  if (write && (mr.access & kLocalWrite) == 0) return nullptr;
  if (address < mr.address || sge.length > mr.length || address - mr.address > mr.length - sge.length) return nullptr;
  return reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(address));
}

int QueuePair::CheckReceive(const ReceiveRecord& record) const {
  if (record.numSge > capabilities_.maxRecvSge) return -EINVAL;
  uint64_t address = 0;
  for (uint32_t i = 0; i < record.numSge; i++) {
    if (!ToAddress(record.sge[i].address, &address)) return -EINVAL;
  }
  return rqPosted_ - rqPolled_ >= capabilities_.maxRecvWr ? -ENOMEM : 0;
}

int QueuePair::PostReceive(const ReceiveRecord* records, int count, int* taken) {
  QpState state = this->state();
  *taken = 0;
  if (state == QpState::kReset || (shared_ && !IsDatagram())) return -EINVAL;
  QpSlot& slot = this->slot();
  int rc = 0;
  int n = 0;
  for (; n < count; n++) {
    const ReceiveRecord& record = records[n];
    rc = CheckReceive(record);
    if (rc == 0 && IsDatagram()) rc = PostDatagramReceive(record);
    if (rc != 0) break;
    if (!IsDatagram()) {
      RqEntry& entry = context().directory().rq(ringOffset_, rqPosted_, rqCapacity_);
      entry.wrId = record.wrId;
      entry.numSge = record.numSge;
      for (uint32_t i = 0; i < record.numSge; i++) entry.sge[i] = record.sge[i];
    }
    rqPosted_++;
  }
  *taken = n;
  if (n == 0) return rc;
  slot.rqPosted.store(rqPosted_);
  WakeWaitingPeer();
  if (state == QpState::kError) receiveCq_->Announce(QpIndex(number_), true);
  return rc;
}

void QueuePair::WakeWaitingPeer() {
  QpSlot& slot = this->slot();
  if (slot.rnrWaiting.load() != 0 && slot.rnrWaiting.exchange(0) != 0 && peer_) peer_->WakeEngine();
}

int QueuePair::Drain(CompletionQueue& queue, CompletionRecord* out, int max, bool* more) {
  int count = 0;
  if (&queue == sendCq_) count = DrainSends(out, max, more);
  if (&queue != receiveCq_) return count;
  if (IsDatagram()) return count + DrainDatagrams(out + count, max - count, more);
  return count + (shared_ ? DrainShared(out + count, max - count, more) : DrainOwn(out + count, max - count, more));
}

int QueuePair::DrainSends(CompletionRecord* out, int max, bool* more) {
  int count = 0;
  uint64_t head = cqeHead_.load(std::memory_order_relaxed);
  uint64_t tail = cqeTail_.load(std::memory_order_acquire);
  for (; head != tail && count < max; head++) out[count++] = sendCqes_[head & cqeMask_];
  cqeHead_.store(head, std::memory_order_release);
  if (head != tail) *more = true;
  return count;
}

namespace {

void Complete(CompletionRecord* out, const RqEntry& entry, uint32_t number) {
  Fail(out, entry.wrId, static_cast<CompletionStatus>(entry.status), number);
  if (out->status != static_cast<uint32_t>(CompletionStatus::kSuccess)) return;
  out->opcode = entry.opcode;
  out->byteLength = entry.byteLength;
  out->imm = entry.imm;
  out->flags = entry.flags;
}

}  // namespace

// With ERROR seen and then the peer's engine seen outside, what is not completed now never will be, and nobody writes
// into its memory any more: only then is it flushed.
bool QueuePair::IsSettled() const {
  return static_cast<QpState>(slot().state.load()) == QpState::kError && PeerIsOutside();
}

int QueuePair::DrainOwn(CompletionRecord* out, int max, bool* more) {
  int count = 0;
  bool error = static_cast<QpState>(slot().state.load()) == QpState::kError;
  bool settled = error && IsSettled();
  while (rqPolled_ != rqPosted_) {
    if (count == max) {
      *more = true;
      break;
    }
    RqEntry& entry = context().directory().rq(ringOffset_, rqPolled_, rqCapacity_);
    if (entry.completed.load(std::memory_order_acquire) == rqPolled_ + 1) {
      Complete(&out[count++], entry, number_);
    } else if (settled) {
      Fail(&out[count++], entry.wrId, CompletionStatus::kFlushed, number_);
    } else {
      // The engine thread announces the queue pair again until the peer has left.
      if (error) context().Schedule(this, NowNs() + kSettleNs);
      break;
    }
    rqPolled_++;
  }
  return count;
}

int QueuePair::DrainShared(CompletionRecord* out, int max, bool* more) {
  int count = 0;
  bool error = static_cast<QpState>(slot().state.load()) == QpState::kError;
  bool settled = error && IsSettled();
  DoneRing ring = done();
  uint32_t at = 0;
  for (;;) {
    if (count == max) {
      *more = true;
      return count;
    }
    bool returned = false;
    if (ring.Pop(rqPolled_, &at, &returned)) {
      rqPolled_++;
      if (!shared_->IsTakenBy(at, number_)) continue;
      if (returned) {
        shared_->PostAnew(at);
        continue;
      }
      Complete(&out[count++], shared_->entry(at), number_);
      shared_->Accept(at);
    } else if (settled && shared_->FindTakenBy(number_, &at)) {
      Fail(&out[count++], shared_->entry(at).wrId, CompletionStatus::kFlushed, number_);
      shared_->Accept(at);
    } else {
      if (error && !settled) context().Schedule(this, NowNs() + kSettleNs);
      return count;
    }
  }
}

}  // namespace onepiece::soft
