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

constexpr uint32_t kCloseWaitMs = 50;
// What the posting thread copies itself before it leaves the rest to the engine thread.
constexpr uint64_t kInlineBudgetBytes = 2u << 20;

constexpr uint32_t kToInit = kMaskPkeyIndex | kMaskPort | kMaskAccessFlags;
constexpr uint32_t kToRtr =
    kMaskAddressVector | kMaskPathMtu | kMaskDestQpNum | kMaskRqPsn | kMaskMaxDestReadAtomic | kMaskMinRnrTimer;
constexpr uint32_t kToRts = kMaskTimeout | kMaskRetryCount | kMaskRnrRetry | kMaskSqPsn | kMaskMaxReadAtomic;
constexpr uint32_t kWhileReady = kMaskCurrentState | kMaskAccessFlags | kMaskMinRnrTimer;
constexpr uint32_t kKnownAccess = kLocalWrite | kRemoteWrite | kRemoteRead | kRemoteAtomic;
constexpr uint32_t kKnownSendFlags = kFence | kSignaled | kSolicited | kInline;
constexpr uint32_t kMaxReadAtomic = 128;
constexpr uint64_t kSettleNs = 2'000'000;

// The transitions of a reliable connection that a program asks for: what each needs, and what it may carry besides
// (IBTA 11.2.5.2, table of QP state transition properties). Leaving for RESET or ERROR carries nothing.
struct Transition {
  QpState from;
  QpState to;
  uint32_t required;
  uint32_t optional;
};
constexpr Transition kTransitions[] = {
    {QpState::kReset, QpState::kInit, kToInit, 0},
    {QpState::kInit, QpState::kInit, 0, kToInit},
    {QpState::kInit, QpState::kReadyToReceive, kToRtr, kMaskAccessFlags | kMaskPkeyIndex},
    {QpState::kReadyToReceive, QpState::kReadyToSend, kToRts, kWhileReady},
    {QpState::kReadyToSend, QpState::kReadyToSend, 0, kWhileReady},
};

bool IsAllowed(QpState from, QpState to, uint32_t mask) {
  for (const Transition& known : kTransitions) {
    if (known.from != from || known.to != to) continue;
    return (mask & known.required) == known.required && (mask & ~(known.required | known.optional)) == 0;
  }
  return false;
}

bool IsWellFormed(const QpAttributes& wanted) {
  auto atMost = [&](uint32_t mask, uint32_t value, uint32_t max) { return (wanted.mask & mask) == 0 || value <= max; };
  if ((wanted.mask & kMaskPort) != 0 && wanted.port != 1) return false;
  if ((wanted.mask & kMaskPathMtu) != 0 && (wanted.pathMtu < 1 || wanted.pathMtu > 5)) return false;
  if ((wanted.mask & kMaskAccessFlags) != 0 && (wanted.accessFlags & ~kKnownAccess) != 0) return false;
  return atMost(kMaskPkeyIndex, wanted.pkeyIndex, 0) && atMost(kMaskTimeout, wanted.timeout, 31) &&
         atMost(kMaskRetryCount, wanted.retryCount, 7) && atMost(kMaskRnrRetry, wanted.rnrRetry, 7) &&
         atMost(kMaskMinRnrTimer, wanted.minRnrTimer, 31) &&
         atMost(kMaskMaxReadAtomic, wanted.maxReadAtomic, kMaxReadAtomic) &&
         atMost(kMaskMaxDestReadAtomic, wanted.maxDestReadAtomic, kMaxReadAtomic);
}

// What a completion says after a failure: ibv_poll_cq(3) defines nothing more.
void Fail(CompletionRecord* out, double wrId, CompletionStatus status, uint32_t number) {
  *out = CompletionRecord{};
  out->wrId = wrId;
  out->status = static_cast<uint32_t>(status);
  out->qpNum = number;
}

}  // namespace

int QueuePair::Create(ProtectionDomain& pd, const QpInit& init, std::unique_ptr<onepiece::QueuePair>* out) {
  if (init.type != QpType::kReliable || init.srq != nullptr) return -ENOTSUP;
  const QpCapabilities& wanted = init.capabilities;
  CompletionQueue* sendCq = CompletionQueue::Of(pd.context(), init.sendCq);
  CompletionQueue* receiveCq = CompletionQueue::Of(pd.context(), init.receiveCq);
  if (sendCq == nullptr || receiveCq == nullptr) return -EINVAL;
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
  qp->rqCapacity_ = rqCapacity;
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
  qp->cqeMask_ = 2 * sqCapacity - 1;
  qp->sendCqes_.resize(size_t{2} * sqCapacity);
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
  QpState from = state();
  QpState to = (wanted.mask & kMaskState) != 0 ? wanted.state : from;
  uint32_t mask = wanted.mask & ~static_cast<uint32_t>(kMaskState);
  if ((mask & kMaskCurrentState) != 0 && wanted.currentState != from) return -EINVAL;
  if (to == QpState::kReset && mask == 0) return ToReset();
  if (to == QpState::kError && mask == 0 && from != QpState::kReset) {
    EnterError();
    return 0;
  }
  if (to == QpState::kSendQueueDrained || to == QpState::kSendQueueError) return -ENOTSUP;
  if (!IsAllowed(from, to, mask) || !IsWellFormed(wanted)) return -EINVAL;
  if (to == QpState::kReadyToReceive) {
    int rc = ToReadyToReceive(wanted);
    if (rc != 0) return rc;
  }
  auto has = [&](uint32_t bit) { return (mask & bit) != 0; };
  QpSlot& slot = this->slot();
  if (has(kMaskAccessFlags)) attributes_.accessFlags = slot.access = wanted.accessFlags;
  if (has(kMaskPort)) attributes_.port = wanted.port;
  if (has(kMaskMinRnrTimer)) attributes_.minRnrTimer = slot.minRnrTimer = wanted.minRnrTimer;
  if (has(kMaskTimeout)) attributes_.timeout = wanted.timeout;
  if (has(kMaskRetryCount)) attributes_.retryCount = wanted.retryCount;
  if (has(kMaskRnrRetry)) attributes_.rnrRetry = wanted.rnrRetry;
  if (has(kMaskSqPsn)) attributes_.sqPsn = wanted.sqPsn & 0xffffff;
  if (has(kMaskMaxReadAtomic)) attributes_.maxReadAtomic = wanted.maxReadAtomic;
  // An engine may have stopped the queue pair meanwhile: that must not be undone.
  auto expected = static_cast<uint32_t>(from);
  return slot.state.compare_exchange_strong(expected, static_cast<uint32_t>(to)) ? 0 : -EINVAL;
}

int QueuePair::ToReadyToReceive(const QpAttributes& wanted) {
  std::shared_ptr<Peer> peer;
  int rc = context().AttachPeer(wanted.path.destGid, &peer);
  if (rc != 0) return rc;
  attributes_.path = wanted.path;
  attributes_.path.isGlobal = true;
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
  for (uint32_t i = 0; i < rqCapacity_; i++) {
    context().directory().rq(ringOffset_, i, rqCapacity_).completed.store(0, std::memory_order_relaxed);
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
  rqPosted_ = 0;
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
  if ((record.flags & ~kKnownSendFlags) != 0 || record.numSge > capabilities_.maxSendSge) return -EINVAL;
  uint64_t address = 0;
  bool isSend = record.opcode == static_cast<uint32_t>(WorkOpcode::kSend) ||
                record.opcode == static_cast<uint32_t>(WorkOpcode::kSendWithImm);
  if (!isSend && !ToAddress(record.remoteAddress, &address)) return -EINVAL;
  *length = 0;
  for (uint32_t i = 0; i < record.numSge; i++) {
    if (!ToAddress(record.sge[i].address, &address)) return -EINVAL;
    *length += record.sge[i].length;
  }
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
    if ((record.flags & kInline) != 0) {
      uint8_t* data = inlineData_.data() + (tail & sqMask_) * capabilities_.maxInlineData;
      uint64_t at = 0;
      for (uint32_t i = 0; i < record.numSge; i++) {
        const uint8_t* source = ResolveLocal(record.sge[i], false);
        if (source == nullptr) return Publish(tail, n, taken, -EINVAL);
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
  uint64_t posted = rqPosted_;
  int rc = 0;
  int n = 0;
  for (; n < count; n++) {
    const ReceiveRecord& record = records[n];
    if (posted - rqPolled_ >= capabilities_.maxRecvWr) rc = -ENOMEM;
    if (record.numSge > capabilities_.maxRecvSge) rc = -EINVAL;
    uint64_t address = 0;
    for (uint32_t i = 0; rc == 0 && i < record.numSge; i++) {
      if (!ToAddress(record.sge[i].address, &address)) rc = -EINVAL;
    }
    if (rc != 0) break;
    RqEntry& entry = context().directory().rq(ringOffset_, posted, rqCapacity_);
    entry.wrId = record.wrId;
    entry.numSge = record.numSge;
    for (uint32_t i = 0; i < record.numSge; i++) entry.sge[i] = record.sge[i];
    posted++;
  }
  *taken = n;
  if (n == 0) return rc;
  rqPosted_ = posted;
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
    for (; head != tail && count < max; head++) out[count++] = sendCqes_[head & cqeMask_];
    cqeHead_.store(head, std::memory_order_release);
    if (head != tail) *more = true;
  }
  if (&queue != receiveCq_) return count;
  // With ERROR seen and then the peer's engine seen outside, what is not completed now never will be, and nobody
  // writes into its memory any more: only then is it flushed.
  bool error = static_cast<QpState>(slot().state.load()) == QpState::kError;
  bool settled = error && PeerIsOutside();
  while (rqPolled_ != rqPosted_) {
    if (count == max) {
      *more = true;
      break;
    }
    RqEntry& entry = context().directory().rq(ringOffset_, rqPolled_, rqCapacity_);
    if (entry.completed.load(std::memory_order_acquire) == rqPolled_ + 1) {
      CompletionRecord& record = out[count++];
      Fail(&record, entry.wrId, static_cast<CompletionStatus>(entry.status), number_);
      if (record.status == static_cast<uint32_t>(CompletionStatus::kSuccess)) {
        record.opcode = entry.opcode;
        record.byteLength = entry.byteLength;
        record.imm = entry.imm;
        record.flags = entry.flags;
      }
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
