// Shared receive queues. Invariant: see shared_receive_queue.h.
#include "shared_receive_queue.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <algorithm>
#include <cstring>
#include <new>

namespace onepiece::verbs {

SharedReceives::~SharedReceives() {
  if (raw != nullptr) domain->context->library.destroy_srq(raw);
}

int SharedReceiveQueue::Create(const std::shared_ptr<Domain>& domain, const SrqAttributes& wanted,
                               std::unique_ptr<onepiece::SharedReceiveQueue>* out) {
  ibv_srq_init_attr attr;
  memset(&attr, 0, sizeof(attr));
  attr.attr.max_wr = wanted.maxWr;
  attr.attr.max_sge = wanted.maxSge;
  errno = 0;
  ibv_srq* raw = domain->context->library.create_srq(domain->raw, &attr);
  if (raw == nullptr) return LastError();
  auto receives = std::make_shared<SharedReceives>(domain, raw);
  SrqAttributes granted{attr.attr.max_wr, std::min<uint32_t>(attr.attr.max_sge, kMaxSge), 0};
  std::unique_ptr<SharedReceiveQueue> queue(new (std::nothrow) SharedReceiveQueue(std::move(receives), granted));
  if (!queue) return -ENOMEM;
  if (wanted.limit != 0) {  // ibv_create_srq ignores it
    const int error = queue->Modify(nullptr, &wanted.limit);
    if (error != 0) return error;
  }
  *out = std::move(queue);
  return 0;
}

SharedReceiveQueue::SharedReceiveQueue(std::shared_ptr<SharedReceives> receives, const SrqAttributes& granted)
    : receives_(std::move(receives)), granted_(granted), number_(receives_->domain->context->nextNumber++) {
  receives_->raw->srq_context = this;
  receives_->domain->context->sharedQueues.push_back(this);
}

void SharedReceiveQueue::Forget() {
  if (!receives_) return;
  std::erase(receives_->domain->context->sharedQueues, this);
  receives_.reset();
}

SharedReceiveQueue* SharedReceiveQueue::Of(const Context& context, const onepiece::SharedReceiveQueue* queue) {
  for (SharedReceiveQueue* own : context.sharedQueues) {
    if (own == queue) return own;
  }
  return nullptr;
}

int SharedReceiveQueue::PostReceive(const ReceiveRecord* records, int count, int* taken) {
  *taken = 0;
  if (!receives_) return -EBADF;
  if (count < 0) return -EINVAL;
  return chain_.Post(records, count, granted_.maxSge, taken, [this](ibv_recv_wr* chain, ibv_recv_wr** bad) {
    return ibv_post_srq_recv(receives_->raw, chain, bad);
  });
}

int SharedReceiveQueue::Modify(const uint32_t* maxWr, const uint32_t* limit) {
  if (!receives_) return -EBADF;
  ibv_srq_attr attr;
  memset(&attr, 0, sizeof(attr));
  int mask = 0;
  if (maxWr != nullptr) {
    attr.max_wr = *maxWr;
    mask |= IBV_SRQ_MAX_WR;
  }
  if (limit != nullptr) {
    attr.srq_limit = *limit;
    mask |= IBV_SRQ_LIMIT;
  }
  return Ask(receives_->domain->context->library.modify_srq, receives_->raw, &attr, mask);
}

int SharedReceiveQueue::Query(SrqAttributes* out) {
  if (!receives_) return -EBADF;
  ibv_srq_attr attr;
  memset(&attr, 0, sizeof(attr));
  const int error = Ask(receives_->domain->context->library.query_srq, receives_->raw, &attr);
  if (error == 0) *out = {attr.max_wr, attr.max_sge, attr.srq_limit};
  return error;
}

int SharedReceiveQueue::Raw(RawNumbers* out) {
  if (!receives_) return -EBADF;
  *out = {reinterpret_cast<uintptr_t>(receives_->raw), receives_->raw->handle, -1, -1};
  return 0;
}

int SharedReceiveQueue::Close() {
  if (!receives_) return 0;
  if (receives_.use_count() > 1) return -EBUSY;
  const int error = Ask(receives_->domain->context->library.destroy_srq, receives_->raw);
  if (error != 0) return error;
  receives_->raw = nullptr;
  Forget();
  return 0;
}

}  // namespace onepiece::verbs

#endif
