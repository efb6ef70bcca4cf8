// The owner's side of a queue pair: creation, states, posting, polling, closing. The engine is in engine.cc.
// Invariant: see queue_pair.h.
#include "queue_pair.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include <algorithm>
#include <bit>

namespace onepiece::soft {

namespace {

constexpr uint32_t kReliableConnected = 2;
constexpr uint32_t kCloseWaitMs = 50;
// What the posting thread copies itself before it leaves the rest to the engine thread.
constexpr uint64_t kInlineBudgetBytes = 2u << 20;

constexpr uint32_t kToInit = kMaskPkeyIndex | kMaskPort | kMaskAccessFlags;
constexpr uint32_t kToRtr =
    kMaskAddressVector | kMaskPathMtu | kMaskDestQpNum | kMaskRqPsn | kMaskMaxDestReadAtomic | kMaskMinRnrTimer;
constexpr uint32_t kToRts = kMaskTimeout | kMaskRetryCount | kMaskRnrRetry | kMaskSqPsn | kMaskMaxReadAtomic;

void Flush(CompletionRecord* out, double wrId, CompletionOpcode opcode, uint32_t number) {
  *out = CompletionRecord{};
  out->wrId = wrId;
  out->status = static_cast<uint32_t>(CompletionStatus::kFlushed);
  out->opcode = static_cast<uint32_t>(opcode);
  out->qpNum = number;
}

}  // namespace

int QueuePair::Create(ProtectionDomain& pd, const QpInit& init, std::unique_ptr<onepiece::QueuePair>* out) {
  if (init.type != kReliableConnected) return -ENOTSUP;
  const QpCapabilities& wanted = init.capabilities;
  auto* sendCq = static_cast<CompletionQueue*>(init.sendCq);
  auto* receiveCq = static_cast<CompletionQueue*>(init.receiveCq);
  if (sendCq == nullptr || receiveCq == nullptr) return -EINVAL;
  if (&sendCq->context() != &pd.context() || &receiveCq->context() != &pd.context()) return -EINVAL;
  if (wanted.maxSendWr == 0 || wanted.maxSendWr > kMaxQpWr || wanted.maxRecvWr > kMaxQpWr) return -EINVAL;
  if (wanted.maxSendSge > kMaxSge || wanted.maxRecvSge > kMaxSge || wanted.maxInlineData > kMaxInlineData) {
    return -EINVAL;
  }
  std::unique_ptr<QueuePair> qp(new (std::nothrow) QueuePair(pd));
  if (!qp) return -ENOMEM;
  Context& context = pd.context();
  uint32_t rqCapacity = std::bit_ceil(std::max(wanted.maxRecvWr, 1u));
  uint64_t ringBytes = uint64_t{rqCapacity} * sizeof(RqEntry);
  uint64_t ringOffset = 0;
  if (!context.ranges.Take(ringBytes, &ringOffset)) return -ENOMEM;
  uint32_t number = 0;
  int rc = context.AddQp(qp.get(), &number);
  if (rc != 0) {
    context.ranges.Give(ringOffset, ringBytes);
    return rc;
  }
  qp->closed_ = false;
  qp->number_ = number;
  qp->ringOffset_ = ringOffset;
  qp->ringBytes_ = ringBytes;
  qp->sendCq_ = sendCq;
  qp->receiveCq_ = receiveCq;
  qp->signalAll_ = init.signalAll;
  qp->capabilities_ = wanted;
  qp->capabilities_.maxRecvWr = wanted.maxRecvWr == 0 ? 0 : rqCapacity;
  uint32_t sqCapacity = std::bit_ceil(wanted.maxSendWr);
  qp->capabilities_.maxSendWr = sqCapacity;
  qp->capabilities_.maxSendSge = std::max(wanted.maxSendSge, 1u);
  qp->capabilities_.maxRecvSge = std::max(wanted.maxRecvSge, 1u);
  qp->sqMask_ = sqCapacity - 1;
  qp->sq_.resize(sqCapacity);
  qp->sendCqes_.resize(sqCapacity);
  qp->inlineData_.resize(size_t{sqCapacity} * wanted.maxInlineData);
  pd.children++;
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
  qp->ClearRing();
  slot.busy.store(0);
  slot.state.store(static_cast<uint32_t>(QpState::kReset));
  slot.number.store(number);
  *out = std::move(qp);
  return 0;
}

int QueuePair::Modify(const QpAttributes& wanted) {
  if ((wanted.mask & kMaskState) == 0) return -EINVAL;
  QpState from = state();
  if ((wanted.mask & kMaskCurrentState) != 0 && wanted.currentState != from) return -EINVAL;
  auto has = [&](uint32_t mask) { return (wanted.mask & mask) == mask; };
  if (has(kMaskPort) && wanted.port != 1) return -EINVAL;
  if (has(kMaskPkeyIndex) && wanted.pkeyIndex != 0) return -EINVAL;
  switch (wanted.state) {
    case QpState::kReset:
      return ToReset();
    case QpState::kError:
      if (from == QpState::kReset) return -EINVAL;
      EnterError();
      return 0;
    case QpState::kInit:
      if (from == QpState::kReset ? !has(kToInit) : from != QpState::kInit) return -EINVAL;
      break;
    case QpState::kReadyToReceive:
      if (from != QpState::kInit || !has(kToRtr)) return -EINVAL;
      break;
    case QpState::kReadyToSend:
      if (from == QpState::kReadyToReceive ? !has(kToRts) : from != QpState::kReadyToSend) return -EINVAL;
      break;
    default:
      return -ENOTSUP;
  }
  QpSlot& slot = this->slot();
  if (has(kMaskAccessFlags)) attributes_.accessFlags = slot.access = wanted.accessFlags;
  if (has(kMaskPort)) attributes_.port = wanted.port;
  if (has(kMaskMinRnrTimer)) attributes_.minRnrTimer = slot.minRnrTimer = wanted.minRnrTimer & 31;
  if (has(kMaskTimeout)) attributes_.timeout = wanted.timeout & 31;
  if (has(kMaskRetryCount)) attributes_.retryCount = wanted.retryCount & 7;
  if (has(kMaskRnrRetry)) attributes_.rnrRetry = wanted.rnrRetry & 7;
  if (has(kMaskSqPsn)) attributes_.sqPsn = wanted.sqPsn & 0xffffff;
  if (has(kMaskMaxReadAtomic)) attributes_.maxReadAtomic = wanted.maxReadAtomic;
  if (wanted.state == QpState::kReadyToReceive) {
    int rc = ToReadyToReceive(wanted);
    if (rc != 0) return rc;
  }
  slot.state.store(static_cast<uint32_t>(wanted.state));
  return 0;
}

int QueuePair::ToReadyToReceive(const QpAttributes& wanted) {
  std::shared_ptr<Peer> peer;
  int rc = context().AttachPeer(wanted.destGid, &peer);
  if (rc != 0) return rc;
  attributes_.destGid = wanted.destGid;
  attributes_.isGlobal = true;
  attributes_.destQpNum = wanted.destQpNum & 0xffffff;
  attributes_.pathMtu = wanted.pathMtu;
  attributes_.rqPsn = wanted.rqPsn & 0xffffff;
  attributes_.maxDestReadAtomic = wanted.maxDestReadAtomic;
  QpSlot& slot = this->slot();
  slot.peerNonce = peer->nonce();
  slot.peerNumber = attributes_.destQpNum;
  peer_ = std::move(peer);
  return 0;
}

// All of `attributes` is filled; `mask` says what has a meaning in the present state.
int QueuePair::Query(QpAttributes* attributes) {
  *attributes = attributes_;
  attributes->state = state();
  attributes->currentState = attributes->state;
  return 0;
}

bool QueuePair::PeerIsOutside() const { return !peer_ || PeerIsQuiet(*peer_, slot().peerNumber); }

int QueuePair::WaitPeerOutside() {
  uint64_t deadline = NowNs() + kCloseWaitMs * 1000000ULL;
  while (!PeerIsOutside()) {
    if (NowNs() >= deadline) return -EBUSY;
    sched_yield();
  }
  return 0;
}

// The engine flushes the send queue, Drain the receive queue; both when they see the state.
void QueuePair::EnterError() {
  slot().state.store(static_cast<uint32_t>(QpState::kError));
  Progress(kInlineBudgetBytes);
  receiveCq_->Announce(QpIndex(number_), true);
}

void QueuePair::ClearRing() {
  QpSlot& slot = this->slot();
  for (uint32_t i = 0; i < slot.rqCapacity; i++) {
    context().directory().rq(ringOffset_, i, slot.rqCapacity).completed.store(0, std::memory_order_relaxed);
  }
  slot.rqPosted.store(0);
  slot.rqConsumed.store(0);
  slot.rnrWaiting.store(0);
}

int QueuePair::ToReset() {
  slot().state.store(static_cast<uint32_t>(QpState::kReset));
  context().Unschedule(this);
  while (engine_.load()) sched_yield();
  int rc = WaitPeerOutside();
  if (rc != 0) {
    slot().state.store(static_cast<uint32_t>(QpState::kError));
    return rc;
  }
  sqHead_.store(sqTail_.load());
  cqeHead_.store(cqeTail_.load());
  waitSinceNs_ = 0;
  waits_ = 0;
  rqPolled_ = 0;
  ClearRing();
  QpSlot& slot = this->slot();
  slot.peerNonce = 0;
  slot.peerNumber = 0;
  peer_.reset();
  cache_ = {};
  attributes_ = QpAttributes{};
  return 0;
}

int QueuePair::Validate(const SendRecord& record, uint64_t* length) const {
  switch (static_cast<WorkOpcode>(record.opcode)) {
    case WorkOpcode::kWrite:
    case WorkOpcode::kWriteWithImm:
    case WorkOpcode::kSend:
    case WorkOpcode::kSendWithImm:
      break;
    case WorkOpcode::kRead:
      if ((record.flags & kInline) != 0) return -EINVAL;
      break;
    case WorkOpcode::kCompareSwap:
    case WorkOpcode::kFetchAdd:
      return -ENOTSUP;
    default:
      return -EINVAL;
  }
  if (record.numSge > capabilities_.maxSendSge) return -EINVAL;
  *length = 0;
  for (uint32_t i = 0; i < record.numSge; i++) *length += record.sge[i].length;
  if (*length > 1u << 31) return -EINVAL;
  if ((record.flags & kInline) != 0 && *length > capabilities_.maxInlineData) return -EINVAL;
  return 0;
}

int QueuePair::PostSend(const SendRecord* records, int count, int* taken) {
  QpState state = this->state();
  *taken = 0;
  if (state != QpState::kReadyToSend && state != QpState::kError) return -EINVAL;
  uint64_t tail = sqTail_.load(std::memory_order_relaxed);
  uint64_t used = tail - sqHead_.load(std::memory_order_acquire) + cqeTail_.load(std::memory_order_acquire) -
                  cqeHead_.load(std::memory_order_relaxed);
  int rc = 0;
  int n = 0;
  for (; n < count; n++) {
    const SendRecord& record = records[n];
    uint64_t length = 0;
    rc = Validate(record, &length);
    if (rc == 0 && used + static_cast<uint64_t>(n) > sqMask_) rc = -ENOMEM;
    if (rc != 0) break;
    WorkRequest& request = sq_[tail & sqMask_];
    request.wrId = record.wrId;
    request.remoteAddress = static_cast<uint64_t>(record.remoteAddress);
    request.done = 0;
    request.length = length;
    request.compareAdd = record.compareAdd;
    request.swap = record.swap;
    request.opcode = record.opcode;
    request.flags = record.flags;
    request.imm = record.imm;
    request.rkey = record.rkey;
    request.numSge = record.numSge;
    if ((record.flags & kInline) != 0) {
      uint8_t* data = inlineData_.data() + (tail & sqMask_) * capabilities_.maxInlineData;
      uint64_t at = 0;
      for (uint32_t i = 0; i < record.numSge; i++) {
        const uint8_t* source = ResolveLocal(record.sge[i], false);
        if (source == nullptr) return Publish(tail, n, taken, -EFAULT);
        memcpy(data + at, source, record.sge[i].length);
        at += record.sge[i].length;
      }
      request.numSge = 1;
      request.sge[0] = {static_cast<double>(reinterpret_cast<uintptr_t>(data)), static_cast<uint32_t>(length), 0};
    } else {
      for (uint32_t i = 0; i < record.numSge; i++) request.sge[i] = record.sge[i];
    }
    tail++;
  }
  return Publish(tail, n, taken, rc);
}

// Hands what was taken to the engine.
int QueuePair::Publish(uint64_t tail, int count, int* taken, int rc) {
  *taken = count;
  if (count > 0) {
    sqTail_.store(tail);
    Progress(kInlineBudgetBytes);
  }
  return rc;
}

int QueuePair::PostReceive(const ReceiveRecord* records, int count, int* taken) {
  QpState state = this->state();
  *taken = 0;
  if (state == QpState::kReset) return -EINVAL;
  QpSlot& slot = this->slot();
  uint64_t posted = slot.rqPosted.load(std::memory_order_relaxed);
  int rc = 0;
  int n = 0;
  for (; n < count; n++) {
    const ReceiveRecord& record = records[n];
    if (record.numSge > capabilities_.maxRecvSge) rc = -EINVAL;
    if (posted - rqPolled_ >= capabilities_.maxRecvWr) rc = -ENOMEM;
    if (rc != 0) break;
    RqEntry& entry = context().directory().rq(ringOffset_, posted, slot.rqCapacity);
    entry.wrId = record.wrId;
    entry.numSge = record.numSge;
    for (uint32_t i = 0; i < record.numSge; i++) entry.sge[i] = record.sge[i];
    posted++;
  }
  *taken = n;
  if (n == 0) return rc;
  slot.rqPosted.store(posted);
  if (slot.rnrWaiting.load() != 0 && slot.rnrWaiting.exchange(0) != 0 && peer_) peer_->WakeEngine();
  if (state == QpState::kError) receiveCq_->Announce(QpIndex(number_), true);
  return rc;
}

int QueuePair::Drain(CompletionQueue& queue, CompletionRecord* out, int max, bool* more) {
  int count = 0;
  if (&queue == sendCq_) {
    uint64_t head = cqeHead_.load(std::memory_order_relaxed);
    uint64_t tail = cqeTail_.load(std::memory_order_acquire);
    for (; head != tail && count < max; head++) out[count++] = sendCqes_[head & sqMask_];
    cqeHead_.store(head, std::memory_order_release);
    if (head != tail) *more = true;
  }
  if (&queue != receiveCq_) return count;
  QpSlot& slot = this->slot();
  // The state first: with ERROR seen, a completion that is not there now was not made before.
  bool error = state() == QpState::kError;
  uint64_t posted = slot.rqPosted.load(std::memory_order_relaxed);
  while (rqPolled_ != posted) {
    if (count == max) {
      *more = true;
      break;
    }
    RqEntry& entry = context().directory().rq(ringOffset_, rqPolled_, slot.rqCapacity);
    if (entry.completed.load(std::memory_order_acquire) == rqPolled_ + 1) {
      CompletionRecord& record = out[count++];
      record = CompletionRecord{};
      record.wrId = entry.wrId;
      record.status = entry.status;
      record.opcode = entry.opcode;
      record.byteLength = entry.byteLength;
      record.imm = entry.imm;
      record.flags = entry.flags;
      record.qpNum = number_;
    } else if (error) {
      Flush(&out[count++], entry.wrId, CompletionOpcode::kReceive, number_);
    } else {
      break;
    }
    rqPolled_++;
  }
  return count;
}

int QueuePair::Close() {
  if (closed_) return 0;
  closed_ = true;
  QpSlot& slot = this->slot();
  slot.state.store(static_cast<uint32_t>(QpState::kReset));
  context().Unschedule(this);
  while (engine_.load()) sched_yield();
  uint32_t index = QpIndex(number_);
  context().RemoveQp(index);
  if (WaitPeerOutside() == 0) {
    context().FreeQpSlot(index, ringOffset_, ringBytes_);
  } else {
    context().AddZombie(index, ringOffset_, ringBytes_, peer_, slot.peerNumber);
  }
  sendCq_->users--;
  receiveCq_->users--;
  pd_.children--;
  return 0;
}

}  // namespace onepiece::soft
