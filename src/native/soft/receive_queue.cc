// Invariant: see receive_queue.h.
#include "receive_queue.h"

#include <errno.h>

#include "remote_queue_pair.h"
#include "work_request.h"

namespace onepiece::soft {

namespace {

void Complete(CompletionRecord* out, const RqEntry& entry, uint32_t number) {
  Finish(out, entry.wrId, static_cast<CompletionStatus>(entry.status), number);
  if (out->status != static_cast<uint32_t>(CompletionStatus::kSuccess)) return;
  out->opcode = entry.opcode;
  out->byteLength = entry.byteLength;
  out->imm = entry.imm;
  out->flags = entry.flags;
}

}  // namespace

int ReceiveQueue::Reserve(uint32_t capacity, std::shared_ptr<SharedReceives> shared) {
  shared_ = std::move(shared);
  capacity_ = shared_ ? shared_->capacity() : capacity;
  ringBytes_ = capacity_ * (shared_ ? sizeof(uint64_t) : sizeof(RqEntry));
  return qp_.context.ranges.Take(ringBytes_, &ringOffset_) ? 0 : -ENOMEM;
}

void ReceiveQueue::Release() { qp_.context.ranges.Give(ringOffset_, ringBytes_); }

DoneRing ReceiveQueue::done() const {
  auto* words = reinterpret_cast<std::atomic<uint64_t>*>(qp_.context.directory().base + ringOffset_);
  return {words, capacity_, &qp_.slot->rqConsumed};
}

void ReceiveQueue::Post(const ReceiveRecord& record) {
  RqEntry& entry = this->entry(posted_);
  entry.wrId = record.wrId;
  entry.numSge = record.numSge;
  for (uint32_t i = 0; i < record.numSge; i++) entry.sge[i] = record.sge[i];
  posted_++;
}

void ReceiveQueue::Publish() {
  qp_.slot->rqPosted.store(posted_);
  WakeWaitingPeer();
}

void ReceiveQueue::WakeWaitingPeer() {
  QpSlot& slot = *qp_.slot;
  if (slot.rnrWaiting.load() != 0 && slot.rnrWaiting.exchange(0) != 0 && remote_.peer()) remote_.peer()->WakeEngine();
}

void ReceiveQueue::Clear() {
  posted_ = 0;
  polled_ = 0;
  if (shared_) {
    done().Clear();
    return;
  }
  for (uint32_t i = 0; i < capacity_; i++) entry(i).completed.store(0, std::memory_order_relaxed);
  qp_.slot->rqConsumed.store(0);
}

int ReceiveQueue::DrainOwn(CompletionRecord* out, int max, bool* more) {
  int count = 0;
  bool error = static_cast<QpState>(qp_.slot->state.load()) == QpState::kError;
  bool settled = error && remote_.IsOutside();
  while (polled_ != posted_) {
    if (count == max) {
      *more = true;
      break;
    }
    RqEntry& entry = this->entry(polled_);
    if (entry.completed.load(std::memory_order_acquire) == polled_ + 1) {
      Complete(&out[count++], entry, qp_.number);
    } else if (settled) {
      Finish(&out[count++], entry.wrId, CompletionStatus::kFlushed, qp_.number);
    } else {
      // The engine thread announces the queue pair again until the peer has left.
      if (error) qp_.Schedule(NowNs() + kSettleNs);
      break;
    }
    polled_++;
  }
  return count;
}

int ReceiveQueue::DrainShared(CompletionRecord* out, int max, bool* more) {
  int count = 0;
  bool error = static_cast<QpState>(qp_.slot->state.load()) == QpState::kError;
  bool settled = error && remote_.IsOutside();
  DoneRing ring = done();
  uint32_t at = 0;
  for (;;) {
    if (count == max) {
      *more = true;
      return count;
    }
    bool returned = false;
    if (ring.Pop(polled_, &at, &returned)) {
      polled_++;
      if (!shared_->IsTakenBy(at, qp_.number)) continue;
      if (returned) {
        shared_->PostAnew(at);
        continue;
      }
      Complete(&out[count++], shared_->entry(at), qp_.number);
      shared_->Accept(at);
    } else if (settled && shared_->FindTakenBy(qp_.number, &at)) {
      Finish(&out[count++], shared_->entry(at).wrId, CompletionStatus::kFlushed, qp_.number);
      shared_->Accept(at);
    } else {
      if (error && !settled) qp_.Schedule(NowNs() + kSettleNs);
      return count;
    }
  }
}

void ReceiveQueue::AnnounceLastWqe() {
  if (!shared_) return;
  // ERROR was published before this look, so a peer that is outside now stays outside.
  if (remote_.IsOutside()) {
    lastWqeIsDue_.store(false);
    qp_.context.RaiseQpEvent(qp_.index(), kEventLastWqeReached);
    return;
  }
  lastWqeIsDue_.store(true);
  qp_.Schedule(NowNs() + kSettleNs);
}

}  // namespace onepiece::soft
