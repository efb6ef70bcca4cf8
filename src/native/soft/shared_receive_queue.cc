// Invariant: see shared_receives.h.
#include "shared_receive_queue.h"

#include <errno.h>

#include <algorithm>
#include <bit>

#include "queue_pair.h"

namespace onepiece::soft {

int SharedReceiveQueue::Create(ProtectionDomain& pd, const SrqAttributes& wanted,
                               std::unique_ptr<onepiece::SharedReceiveQueue>* out) {
  if (wanted.maxWr == 0 || wanted.maxWr > kMaxQpWr || wanted.maxSge > kMaxSge) return -EINVAL;
  SrqAttributes granted{std::bit_ceil(wanted.maxWr), std::max(wanted.maxSge, 1u), 0};
  std::unique_ptr<SharedReceiveQueue> queue(new (std::nothrow) SharedReceiveQueue(pd, granted));
  if (!queue) return -ENOMEM;
  Context& context = pd.context();
  int rc = SharedReceives::Create(context, pd.number(), granted.maxWr, false, &queue->receives_);
  if (rc != 0) return rc;
  queue->closed_ = false;
  queue->number_ = queue->receives_->number();
  pd.children++;
  context.sharedQueues.push_back(queue.get());
  if (wanted.limit != 0) {
    rc = queue->Modify(nullptr, &wanted.limit);
    if (rc != 0) return rc;
  }
  *out = std::move(queue);
  return 0;
}

SharedReceiveQueue* SharedReceiveQueue::Of(const Context& context, const onepiece::SharedReceiveQueue* queue) {
  for (SharedReceiveQueue* own : context.sharedQueues) {
    if (own == queue) return own;
  }
  return nullptr;
}

int SharedReceiveQueue::PostReceive(const ReceiveRecord* records, int count, int* taken) {
  *taken = 0;
  if (closed_) return -EBADF;
  int rc = 0;
  for (; rc == 0 && *taken < count; ++*taken) {
    const ReceiveRecord& record = records[*taken];
    if (record.numSge > granted_.maxSge) return WakeWaiting(), -EINVAL;
    uint64_t address = 0;
    for (uint32_t i = 0; i < record.numSge; i++) {
      if (!ToAddress(record.sge[i].address, &address)) return WakeWaiting(), -EINVAL;
    }
    if (receives_->IsFull()) return WakeWaiting(), -ENOMEM;
    receives_->Post(record);
  }
  WakeWaiting();
  return rc;
}

// A peer sets its flag, then that of the queue, then looks once more: it sees the receive or is seen here.
void SharedReceiveQueue::WakeWaiting() {
  if (!receives_->TakeWaiting()) return;
  pd_.context().ForEachQp([&](QueuePair& qp) {
    if (qp.shared() == receives_) qp.WakeWaitingPeer();
  });
}

int SharedReceiveQueue::Modify(const uint32_t* maxWr, const uint32_t* limit) {
  if (closed_) return -EBADF;
  if (maxWr != nullptr) return -ENOTSUP;
  if (limit == nullptr) return 0;
  if (*limit > granted_.maxWr) return -EINVAL;
  SrqSlot& slot = receives_->slot();
  uint64_t arming = slot.limit.load() >> 32;
  slot.limit.store((arming + 1) << 32 | *limit);
  return 0;
}

int SharedReceiveQueue::Query(SrqAttributes* out) {
  if (closed_) return -EBADF;
  *out = granted_;
  out->limit = static_cast<uint32_t>(receives_->slot().limit.load());
  return 0;
}

int SharedReceiveQueue::Close() {
  if (closed_) return 0;
  if (receives_->users > 0) return -EBUSY;
  closed_ = true;
  std::erase(pd_.context().sharedQueues, this);
  pd_.children--;
  receives_.reset();
  return 0;
}

}  // namespace onepiece::soft
