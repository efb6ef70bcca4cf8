// The life of a queue pair, posting and polling. Its states are in queue_pair_states.cc. Invariant: see queue_pair.h.
#include "queue_pair.h"

#include <errno.h>

#include <algorithm>
#include <bit>

#include "shared_receive_queue.h"

namespace onepiece::soft {

namespace {

// What is more than this in one post is left to the engine thread from the beginning: the event loop, which posts, must
// not stand still, and each megabyte into pages that nobody has touched yet costs it as much as five others.
constexpr uint64_t kPostedBytes = 4u << 20;

bool IsInRange(const QpCapabilities& wanted) {
  return wanted.maxSendWr != 0 && wanted.maxSendWr <= kMaxQpWr && wanted.maxRecvWr <= kMaxQpWr &&
         wanted.maxSendSge <= kMaxSge && wanted.maxRecvSge <= kMaxSge && wanted.maxInlineData <= kMaxInlineData;
}

}  // namespace

int QueuePair::Create(ProtectionDomain& pd, const QpInit& init, std::unique_ptr<onepiece::QueuePair>* out) {
  if (init.type == QpType::kDatagram && init.srq != nullptr) return -ENOTSUP;
  const QpCapabilities& wanted = init.capabilities;
  CompletionQueue* sendCq = CompletionQueue::Of(pd.context(), init.sendCq);
  CompletionQueue* receiveCq = CompletionQueue::Of(pd.context(), init.receiveCq);
  if (sendCq == nullptr || receiveCq == nullptr) return -EINVAL;
  SharedReceiveQueue* srq = nullptr;
  if (init.srq != nullptr) {
    srq = SharedReceiveQueue::Of(pd.context(), init.srq);
    if (srq == nullptr) return -EINVAL;
  }
  if (!IsInRange(wanted)) return -EINVAL;
  std::unique_ptr<QueuePair> qp(new (std::nothrow) QueuePair(pd, init.type, init.signalAll, *sendCq, *receiveCq));
  if (!qp) return -ENOMEM;
  uint32_t receives = std::bit_ceil(std::max(wanted.maxRecvWr, 1u));
  int rc = qp->Reserve(receives, srq);
  if (rc != 0) return rc;
  qp->closed_ = false;
  qp->requester_.queue().Allocate(wanted);
  if (qp->datagrams_) qp->datagrams_->AllocateSends(qp->requester_.queue().capacity());
  qp->capabilities_ = wanted;
  qp->capabilities_.maxRecvWr = wanted.maxRecvWr == 0 || srq != nullptr ? 0 : receives;
  qp->capabilities_.maxSendWr = qp->requester_.queue().capacity();
  qp->capabilities_.maxSendSge = std::max(wanted.maxSendSge, 1u);
  qp->capabilities_.maxRecvSge = std::max(wanted.maxRecvSge, 1u);
  pd.children++;
  if (srq != nullptr) qp->shared()->users++;
  sendCq->users++;
  receiveCq->users++;
  qp->ShowInDirectory();
  *out = std::move(qp);
  return 0;
}

// Takes what it needs of the directory: all of it or nothing.
int QueuePair::Reserve(uint32_t receives, SharedReceiveQueue* srq) {
  int rc = 0;
  if (identity_.IsDatagram()) {
    rc = DatagramEndpoint::Create(identity_, receives, &datagrams_);
    if (rc == 0) requester_.UseDatagrams(*datagrams_);
  } else {
    rc = receives_.Reserve(receives, srq != nullptr ? srq->receives() : nullptr);
  }
  if (rc != 0) return rc;
  uint32_t number = 0;
  rc = context().AddQp(this, &number);
  if (rc == 0) {
    identity_.SetNumber(number);
    return 0;
  }
  if (datagrams_) {
    datagrams_->Retire();
  } else {
    receives_.Release();
  }
  return rc;
}

void QueuePair::ShowInDirectory() {
  QpSlot& slot = *identity_.slot;
  slot.pd = identity_.pd.number();
  slot.receiveCq = identity_.receiveCq->index();
  slot.access = 0;
  slot.peerNonce = 0;
  slot.peerNumber = 0;
  slot.rqCapacity = datagrams_ ? datagrams_->places().capacity() : receives_.capacity();
  slot.rqOffset = receives_.ringOffset();
  slot.type = static_cast<uint32_t>(identity_.type);
  slot.qkey = 0;
  slot.srq = datagrams_ ? datagrams_->places().index() : shared() ? shared()->index() : 0;
  slot.events.store(0);
  ClearReceives();
  slot.busy.store(0);
  slot.state.store(static_cast<uint32_t>(QpState::kReset));
  slot.number.store(identity_.number);
}

int QueuePair::Close() {
  if (closed_) return 0;
  closed_ = true;
  LetGo();
  context().RemoveQp(identity_.index());
  bool isOutside = WaitPeerOutside() == 0;
  context().windows.Unbind(context(), Number(), isOutside);
  Context::Remains remains{
      identity_.index(), receives_.ringOffset(), receives_.ringBytes(), peer(), peerNumber(), shared()};
  if (datagrams_) datagrams_->Retire();
  if (shared()) shared()->users--;
  if (isOutside) {
    context().FreeQpSlot(remains);
  } else {
    context().AddZombie(std::move(remains));
  }
  identity_.sendCq->users--;
  identity_.receiveCq->users--;
  identity_.pd.children--;
  return 0;
}

int QueuePair::PostSend(const SendRecord* records, int count, int* taken) {
  QpState state = identity_.state();
  *taken = 0;
  if (state != QpState::kReadyToSend && state != QpState::kError && state != QpState::kSendQueueDrained) return -EINVAL;
  uint64_t bytes = 0;
  int rc = requester_.queue().Append(records, count, identity_.pd, datagrams_.get(), taken, &bytes);
  if (*taken == 0) return rc;
  if (bytes > kPostedBytes) {
    identity_.Schedule(0);
  } else {
    requester_.Progress(true);
  }
  return rc;
}

int QueuePair::PostReceive(const ReceiveRecord* records, int count, int* taken) {
  QpState state = identity_.state();
  *taken = 0;
  if (state == QpState::kReset || shared()) return -EINVAL;
  auto check = [&](const ReceiveRecord& record) {
    if (record.numSge > capabilities_.maxRecvSge) return -EINVAL;
    uint64_t address = 0;
    for (uint32_t i = 0; i < record.numSge; i++) {
      if (!ToAddress(record.sge[i].address, &address)) return -EINVAL;
    }
    uint64_t outstanding = datagrams_ ? datagrams_->outstanding() : receives_.outstanding();
    return outstanding >= capabilities_.maxRecvWr ? -ENOMEM : 0;
  };
  int rc = 0;
  int n = 0;
  for (; n < count; n++) {
    rc = check(records[n]);
    if (rc == 0 && datagrams_) rc = datagrams_->PostReceive(records[n]);
    if (rc != 0) break;
    if (!datagrams_) receives_.Post(records[n]);
  }
  *taken = n;
  if (n == 0) return rc;
  if (!datagrams_) receives_.Publish();
  if (state == QpState::kError) identity_.receiveCq->Announce(identity_.index(), true);
  return rc;
}

int QueuePair::Drain(CompletionQueue& queue, CompletionRecord* out, int max, bool* more) {
  int count = 0;
  if (&queue == identity_.sendCq) count = requester_.queue().Drain(out, max, more);
  if (&queue != identity_.receiveCq) return count;
  if (datagrams_) return count + datagrams_->Drain(out + count, max - count, more);
  return count + receives_.Drain(out + count, max - count, more);
}

int QueuePair::MapRemote(uint64_t address, uint32_t rkey, uint64_t length,
                         std::unique_ptr<onepiece::RemoteMapping>* out) {
  if (length == 0) return -EINVAL;
  if (!identity_.IsReliable() || identity_.state() != QpState::kReadyToSend) return -EINVAL;
  return requester_.remote().Map(address, rkey, length, out);
}

void QueuePair::ProgressFromThread() {
  requester_.Progress(false);
  requester_.HearOfDeath();
  if (identity_.state() != QpState::kError) return;
  // Receives may wait to be flushed; see ReceiveQueue.
  identity_.receiveCq->Announce(identity_.index(), true);
  receives_.RetryLastWqe();
}

}  // namespace onepiece::soft
