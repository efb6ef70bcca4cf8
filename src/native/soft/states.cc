// The states of a queue pair, and how it ends. Invariant: see queue_pair.h.
#include <errno.h>
#include <sched.h>
#include <string.h>

#include <algorithm>

#include "queue_pair.h"

namespace onepiece::soft {

namespace {

constexpr uint32_t kCloseWaitMs = 50;
constexpr uint32_t kMaxReadAtomic = 128;
constexpr uint32_t kKnownAccess = kLocalWrite | kRemoteWrite | kRemoteRead | kRemoteAtomic;

constexpr uint32_t kRc = 1u << static_cast<uint32_t>(QpType::kReliable);
constexpr uint32_t kUc = 1u << static_cast<uint32_t>(QpType::kUnreliable);
constexpr uint32_t kUd = 1u << static_cast<uint32_t>(QpType::kDatagram);

constexpr uint32_t kToInit = kMaskPkeyIndex | kMaskPort | kMaskAccessFlags;
constexpr uint32_t kUdToInit = kMaskPkeyIndex | kMaskPort | kMaskQkey;
constexpr uint32_t kUcToRtr = kMaskAddressVector | kMaskPathMtu | kMaskDestQpNum | kMaskRqPsn;
constexpr uint32_t kToRtr = kUcToRtr | kMaskMaxDestReadAtomic | kMaskMinRnrTimer;
constexpr uint32_t kToRts = kMaskTimeout | kMaskRetryCount | kMaskRnrRetry | kMaskSqPsn | kMaskMaxReadAtomic;
constexpr uint32_t kWhileReady = kMaskCurrentState | kMaskAccessFlags | kMaskMinRnrTimer;
constexpr uint32_t kUcWhileReady = kMaskCurrentState | kMaskAccessFlags;
constexpr uint32_t kUdWhileReady = kMaskCurrentState | kMaskQkey;
constexpr uint32_t kWhileDrained = kMaskPkeyIndex | kMaskPort | kMaskAccessFlags | kMaskTimeout | kMaskRetryCount |
                                   kMaskRnrRetry | kMaskMinRnrTimer | kMaskMaxReadAtomic | kMaskMaxDestReadAtomic |
                                   kMaskAddressVector;

// The transitions that a program asks for: what each needs, and what it may carry besides (IBTA 11.2.5.2, table of QP
// state transition properties). Leaving for RESET or ERROR carries nothing.
struct Transition {
  uint32_t types;
  QpState from;
  QpState to;
  uint32_t required;
  uint32_t optional;
};
constexpr Transition kTransitions[] = {
    {kRc | kUc, QpState::kReset, QpState::kInit, kToInit, 0},
    {kUd, QpState::kReset, QpState::kInit, kUdToInit, 0},
    {kRc | kUc, QpState::kInit, QpState::kInit, 0, kToInit},
    {kUd, QpState::kInit, QpState::kInit, 0, kUdToInit},
    {kRc, QpState::kInit, QpState::kReadyToReceive, kToRtr, kMaskAccessFlags | kMaskPkeyIndex},
    {kUc, QpState::kInit, QpState::kReadyToReceive, kUcToRtr, kMaskAccessFlags | kMaskPkeyIndex},
    {kUd, QpState::kInit, QpState::kReadyToReceive, 0, kMaskPkeyIndex | kMaskQkey},
    {kRc, QpState::kReadyToReceive, QpState::kReadyToSend, kToRts, kWhileReady},
    {kUc, QpState::kReadyToReceive, QpState::kReadyToSend, kMaskSqPsn, kUcWhileReady},
    {kUd, QpState::kReadyToReceive, QpState::kReadyToSend, kMaskSqPsn, kUdWhileReady},
    {kRc, QpState::kReadyToSend, QpState::kReadyToSend, 0, kWhileReady},
    {kUc, QpState::kReadyToSend, QpState::kReadyToSend, 0, kUcWhileReady},
    {kUd, QpState::kReadyToSend, QpState::kReadyToSend, 0, kUdWhileReady},
    {kRc | kUc | kUd, QpState::kReadyToSend, QpState::kSendQueueDrained, 0, kMaskNotifyWhenDrained},
    {kRc, QpState::kSendQueueDrained, QpState::kReadyToSend, 0, kWhileReady},
    {kUc, QpState::kSendQueueDrained, QpState::kReadyToSend, 0, kUcWhileReady},
    {kUd, QpState::kSendQueueDrained, QpState::kReadyToSend, 0, kUdWhileReady},
    {kRc, QpState::kSendQueueDrained, QpState::kSendQueueDrained, 0, kWhileDrained},
    {kUc, QpState::kSendQueueDrained, QpState::kSendQueueDrained, 0, kMaskPkeyIndex | kMaskAccessFlags},
    {kUd, QpState::kSendQueueDrained, QpState::kSendQueueDrained, 0, kMaskPkeyIndex | kMaskQkey},
};

bool IsAllowed(QpType type, QpState from, QpState to, uint32_t mask) {
  for (const Transition& known : kTransitions) {
    if (known.from != from || known.to != to || (known.types >> static_cast<uint32_t>(type) & 1) == 0) continue;
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

}  // namespace

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
  if (!IsAllowed(type_, from, to, mask) || !IsWellFormed(wanted)) return -EINVAL;
  if (to == QpState::kReadyToReceive && !IsDatagram()) {
    int rc = ToReadyToReceive(wanted);
    if (rc != 0) return rc;
  }
  auto has = [&](uint32_t bit) { return (mask & bit) != 0; };
  if (from == QpState::kSendQueueDrained && has(kMaskAddressVector)) {
    // Another way to the same device; the connection itself stays.
    if (memcmp(wanted.path.destGid.raw, attributes_.path.destGid.raw, sizeof wanted.path.destGid.raw) != 0) return -EINVAL;
    attributes_.path = wanted.path;
    attributes_.path.isGlobal = true;
  }
  QpSlot& slot = this->slot();
  if (has(kMaskAccessFlags)) attributes_.accessFlags = slot.access = wanted.accessFlags;
  if (has(kMaskPort)) attributes_.port = wanted.port;
  if (has(kMaskQkey)) attributes_.qkey = slot.qkey = wanted.qkey;
  if (has(kMaskMinRnrTimer)) attributes_.minRnrTimer = slot.minRnrTimer = wanted.minRnrTimer;
  if (has(kMaskTimeout)) timeout_.store(attributes_.timeout = wanted.timeout);
  if (has(kMaskRetryCount)) retryCount_.store(attributes_.retryCount = wanted.retryCount);
  if (has(kMaskRnrRetry)) rnrRetry_.store(attributes_.rnrRetry = wanted.rnrRetry);
  if (has(kMaskSqPsn)) attributes_.sqPsn = wanted.sqPsn & 0xffffff;
  if (has(kMaskMaxReadAtomic)) attributes_.maxReadAtomic = wanted.maxReadAtomic;
  if (has(kMaskMaxDestReadAtomic)) attributes_.maxDestReadAtomic = wanted.maxDestReadAtomic;
  if (to == QpState::kSendQueueDrained && from != to) {
    notifyWhenDrained_.store(has(kMaskNotifyWhenDrained) && wanted.notifyWhenDrained);
  }
  // An engine may have stopped the queue pair meanwhile: that must not be undone.
  auto expected = static_cast<uint32_t>(from);
  if (!slot.state.compare_exchange_strong(expected, static_cast<uint32_t>(to))) return -EINVAL;
  // Only now: a death that was heard of in INIT would stop nothing.
  if (to == QpState::kReadyToReceive && !IsDatagram()) WatchPeer();
  // What is begun ends first; then the engine says that the queue is drained, or goes on with what has been posted
  // since.
  if (from == QpState::kSendQueueDrained || to == QpState::kSendQueueDrained) ProgressFromPost();
  return 0;
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
  QpSlot& slot = this->slot();
  slot.peerNonce = peer->nonce();
  slot.peerNumber = attributes_.destQpNum;
  peer_ = std::move(peer);
  return 0;
}

// From now on the engine thread hears of the peer's death, also of one that has happened.
void QueuePair::WatchPeer() {
  context().WatchPeer(this, peer_->nonce());
  if (peer_->CheckDead()) context().Schedule(this, 0);
}

// All of `attributes` is filled; `mask` says what has a meaning in the present state.
int QueuePair::Query(QpAttributes* attributes) {
  *attributes = attributes_;
  attributes->state = state();
  attributes->currentState = attributes->state;
  attributes->isDraining = attributes->state == QpState::kSendQueueDrained && begun_.load();
  return 0;
}

bool QueuePair::PeerIsOutside() const { return !peer_ || PeerIsQuiet(*peer_, attributes_.destQpNum); }

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
  bool was = slot().state.exchange(static_cast<uint32_t>(QpState::kError)) == static_cast<uint32_t>(QpState::kError);
  ProgressFromPost();
  receiveCq_->Announce(QpIndex(number_), true);
  if (!was) AfterError();
}

// Notifies the owner of a shared receive queue when this queue pair takes no more from it: when the peer is outside.
void QueuePair::AfterError() {
  if (!shared_ || IsDatagram()) return;
  // ERROR was published before this look, so a peer that is outside now stays outside.
  if (PeerIsOutside()) {
    tellLastWqe_.store(false);
    context().RaiseQpEvent(QpIndex(number_), kEventLastWqeReached);
    return;
  }
  tellLastWqe_.store(true);
  context().Schedule(this, NowNs() + kSettleNs);
}

// On the engine thread. The request that is under way, or the first that is posted later, completes with the error.
void QueuePair::HearOfDeath() {
  if (heardOfDeath_ || !peer_ || !peer_->dead()) return;
  if (engine_.exchange(true)) {
    context().Schedule(this, NowNs() + kSettleNs);
    return;
  }
  heardOfDeath_ = true;
  bool stopped = false;
  for (QpState from : {QpState::kReadyToReceive, QpState::kReadyToSend, QpState::kSendQueueDrained}) {
    auto expected = static_cast<uint32_t>(from);
    stopped = stopped || slot().state.compare_exchange_strong(expected, static_cast<uint32_t>(QpState::kError));
  }
  reportLoss_ = stopped && IsReliable();
  engine_.store(false);
  context().RaiseQpEvent(QpIndex(number_), kEventQpFatal);
  if (stopped) AfterError();
}

void QueuePair::ClearRing() {
  QpSlot& slot = this->slot();
  if (IsDatagram()) {
    shared_->Withdraw();
  } else if (shared_) {
    done().Clear();
  } else {
    for (uint32_t i = 0; i < rqCapacity_; i++) {
      context().directory().rq(ringOffset_, i, rqCapacity_).completed.store(0, std::memory_order_relaxed);
    }
    slot.rqConsumed.store(0);
  }
  slot.rqPosted.store(0);
  slot.rnrWaiting.store(0);
}

// After return no engine of this process runs for it.
void QueuePair::LetGo() {
  slot().state.store(static_cast<uint32_t>(QpState::kReset));
  context().Unschedule(this);
  while (engine_.load()) sched_yield();
  ReturnHeld();
}

int QueuePair::ToReset() {
  LetGo();
  int rc = WaitPeerOutside();
  if (rc != 0) {
    if (peer_) WatchPeer();
    EnterError();
    return rc;
  }
  context().windows.Unbind(context(), number_, true);
  if (shared_ && !IsDatagram()) shared_->Recover(number_);
  sqHead_.store(sqTail_.load());
  cqeHead_.store(cqeTail_.load());
  for (auto& peer : sqPeers_) peer.reset();
  waitSinceNs_ = 0;
  waits_ = 0;
  begun_.store(false);
  heardOfDeath_ = false;
  reportLoss_ = false;
  tellLastWqe_.store(false);
  rqPosted_ = 0;
  rqPolled_ = 0;
  ClearRing();
  QpSlot& slot = this->slot();
  slot.peerNonce = 0;
  slot.peerNumber = 0;
  slot.qkey = 0;
  peer_.reset();
  cache_ = {};
  attributes_ = QpAttributes{};
  return 0;
}

int QueuePair::Close() {
  if (closed_) return 0;
  closed_ = true;
  LetGo();
  uint32_t index = QpIndex(number_);
  context().RemoveQp(index);
  bool isOutside = WaitPeerOutside() == 0;
  context().windows.Unbind(context(), number_, isOutside);
  Context::Remains remains{index, ringOffset_, ringBytes_, peer_, attributes_.destQpNum, nullptr};
  if (IsDatagram()) {
    shared_->Withdraw();
    context().datagramReceives.push_back(shared_);
  } else if (shared_) {
    shared_->users--;
    remains.shared = shared_;
  }
  if (isOutside) {
    context().FreeQpSlot(remains);
  } else {
    context().AddZombie(std::move(remains));
  }
  sendCq_->users--;
  receiveCq_->users--;
  pd_.children--;
  return 0;
}

}  // namespace onepiece::soft
