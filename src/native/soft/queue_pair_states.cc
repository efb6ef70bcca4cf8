// The states of a queue pair. Invariant: see queue_pair.h.
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "qp_attributes.h"
#include "queue_pair.h"

namespace onepiece::soft {

namespace {
constexpr uint32_t kCloseWaitMs = 50;
}

int QueuePair::Modify(const QpAttributes& wanted) {
  QpState from = identity_.state();
  QpState to = (wanted.mask & kMaskState) != 0 ? wanted.state : from;
  uint32_t mask = wanted.mask & ~static_cast<uint32_t>(kMaskState);
  if ((mask & kMaskCurrentState) != 0 && wanted.currentState != from) return -EINVAL;
  if (to == QpState::kReset && mask == 0) return ToReset();
  if (to == QpState::kError && mask == 0 && from != QpState::kReset) {
    EnterError();
    return 0;
  }
  if (!IsAllowed(identity_.type, from, to, mask) || !IsWellFormed(wanted)) return -EINVAL;
  bool connects = to == QpState::kReadyToReceive && !datagrams_;
  if (connects) {
    int rc = Connect(wanted);
    if (rc != 0) return rc;
  }
  if (from == QpState::kSendQueueDrained && (mask & kMaskAddressVector) != 0) {
    // Another way to the same device; the connection itself stays.
    if (memcmp(&wanted.path.destGid, &attributes_.path.destGid, sizeof(Gid)) != 0) return -EINVAL;
    attributes_.path = wanted.path;
    attributes_.path.isGlobal = true;
  }
  Adopt(wanted, mask);
  if (to == QpState::kSendQueueDrained && from != to) {
    requester_.NotifyWhenDrained((mask & kMaskNotifyWhenDrained) != 0 && wanted.notifyWhenDrained);
  }
  // An engine may have stopped the queue pair meanwhile: that must not be undone.
  auto expected = static_cast<uint32_t>(from);
  if (!identity_.slot->state.compare_exchange_strong(expected, static_cast<uint32_t>(to))) return -EINVAL;
  // Only now: a death that was heard of in INIT would stop nothing.
  if (connects) WatchPeer();
  // What is begun ends first; then the engine says that the queue is drained, or goes on with what has been posted
  // since.
  if (from == QpState::kSendQueueDrained || to == QpState::kSendQueueDrained) requester_.Progress(true);
  return 0;
}

int QueuePair::Connect(const QpAttributes& wanted) {
  std::shared_ptr<Peer> peer;
  int rc = context().AttachPeer(wanted.path.destGid, &peer);
  if (rc != 0) return rc;
  attributes_.path = wanted.path;
  attributes_.path.isGlobal = true;
  attributes_.destQpNum = wanted.destQpNum & 0xffffff;
  attributes_.pathMtu = wanted.pathMtu;
  attributes_.rqPsn = wanted.rqPsn & 0xffffff;
  requester_.remote().Connect(std::move(peer), attributes_.destQpNum);
  return 0;
}

// Takes over the attributes of `mask` that a connection does not fix.
void QueuePair::Adopt(const QpAttributes& wanted, uint32_t mask) {
  auto has = [&](uint32_t bit) { return (mask & bit) != 0; };
  QpSlot& slot = *identity_.slot;
  if (has(kMaskAccessFlags)) attributes_.accessFlags = slot.access = wanted.accessFlags;
  if (has(kMaskPort)) attributes_.port = wanted.port;
  if (has(kMaskQkey)) {
    attributes_.qkey = slot.qkey = wanted.qkey;
    if (datagrams_) datagrams_->SetQkey(wanted.qkey);
  }
  if (has(kMaskMinRnrTimer)) attributes_.minRnrTimer = slot.minRnrTimer = wanted.minRnrTimer;
  if (has(kMaskTimeout)) requester_.SetTimeout(attributes_.timeout = wanted.timeout);
  if (has(kMaskRetryCount)) requester_.SetRetryCount(attributes_.retryCount = wanted.retryCount);
  if (has(kMaskRnrRetry)) requester_.SetRnrRetry(attributes_.rnrRetry = wanted.rnrRetry);
  if (has(kMaskSqPsn)) attributes_.sqPsn = wanted.sqPsn & 0xffffff;
  if (has(kMaskMaxReadAtomic)) attributes_.maxReadAtomic = wanted.maxReadAtomic;
  if (has(kMaskMaxDestReadAtomic)) attributes_.maxDestReadAtomic = wanted.maxDestReadAtomic;
}

// All of `attributes` is filled; `mask` says what has a meaning in the present state.
int QueuePair::Query(QpAttributes* attributes) {
  *attributes = attributes_;
  attributes->state = identity_.state();
  attributes->currentState = attributes->state;
  attributes->isDraining = attributes->state == QpState::kSendQueueDrained && requester_.HasBegun();
  return 0;
}

// From now on the engine thread hears of the peer's death, also of one that has happened.
void QueuePair::WatchPeer() {
  context().WatchPeer(this, peer()->nonce());
  if (peer()->CheckDead()) identity_.Schedule(0);
}

int QueuePair::WaitPeerOutside() const {
  uint64_t deadline = NowNs() + kCloseWaitMs * 1000000ULL;
  while (!requester_.remote().IsOutside()) {
    if (NowNs() >= deadline) return -EBUSY;
    sched_yield();
  }
  return 0;
}

// The engine flushes the send queue, Drain the receive queue; both when they see the state.
void QueuePair::EnterError() {
  auto error = static_cast<uint32_t>(QpState::kError);
  bool was = identity_.slot->state.exchange(error) == error;
  requester_.Progress(true);
  identity_.receiveCq->Announce(identity_.index(), true);
  if (!was) receives_.AnnounceLastWqe();
}

void QueuePair::ClearReceives() {
  if (datagrams_) {
    datagrams_->Clear();
  } else {
    receives_.Clear();
  }
  identity_.slot->rqPosted.store(0);
  identity_.slot->rnrWaiting.store(0);
}

// After return no engine of this process runs for it.
void QueuePair::LetGo() {
  identity_.slot->state.store(static_cast<uint32_t>(QpState::kReset));
  context().Unschedule(this);
  requester_.Join();
}

int QueuePair::ToReset() {
  LetGo();
  int rc = WaitPeerOutside();
  if (rc != 0) {
    if (peer()) WatchPeer();
    EnterError();
    return rc;
  }
  context().windows.Unbind(context(), Number(), true);
  if (shared()) shared()->Recover(Number());
  requester_.queue().Clear();
  requester_.Reset();
  receives_.ForgetLastWqe();
  ClearReceives();
  requester_.remote().Disconnect();
  identity_.slot->qkey = 0;
  if (datagrams_) datagrams_->SetQkey(0);
  attributes_ = QpAttributes{};
  return 0;
}

}  // namespace onepiece::soft
