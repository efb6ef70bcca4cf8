// The receive queue of a connected queue pair, as its owner sees it: receives in a ring of the directory, which the
// peer's engine completes; or, with a shared receive queue, a ring of those that were completed for this queue pair.
//
// Invariant: with ERROR seen and then the peer's engine seen outside, what is not completed now never will be, and
// nobody writes into its memory any more. Only then is a receive flushed.
//
// Threads: the JavaScript thread calls everything. AnnounceLastWqe() and RetryLastWqe() are for whoever runs the
// engine as well.
#pragma once

#include <atomic>
#include <memory>

#include "qp_identity.h"
#include "shared_receives.h"

namespace onepiece::soft {

class RemoteQueuePair;

class ReceiveQueue {
 public:
  ReceiveQueue(const QpIdentity& qp, const RemoteQueuePair& remote) : qp_(qp), remote_(remote) {}

  // Takes the ring from the directory: of `capacity` receives, or of those of `shared`. 0 or -ENOMEM.
  int Reserve(uint32_t capacity, std::shared_ptr<SharedReceives> shared);
  // Gives it back. With a peer that may still be inside that is for Context::AddZombie() instead.
  void Release();

  uint32_t capacity() const { return capacity_; }
  uint64_t ringOffset() const { return ringOffset_; }
  uint64_t ringBytes() const { return ringBytes_; }
  const std::shared_ptr<SharedReceives>& shared() const { return shared_; }
  // Posted and not yet polled.
  uint64_t outstanding() const { return posted_ - polled_; }

  // Puts a receive at the end of the ring; there must be room.
  void Post(const ReceiveRecord& record);
  // Shows the peer all that was posted, and wakes it when it sleeps for a receive.
  void Publish();
  void WakeWaitingPeer();
  // Moves completions into `out`; `more` when some are left.
  int Drain(CompletionRecord* out, int max, bool* more) {
    if (shared_) return DrainShared(out, max, more);
    return polled_ == posted_ ? 0 : DrainOwn(out, max, more);
  }
  // Empties the ring. Nobody may be inside.
  void Clear();

  // After ERROR: notifies the owner of a shared receive queue that this queue pair takes no more from it, at once or
  // when the peer is outside.
  void AnnounceLastWqe();
  // The engine thread's next look at it.
  void RetryLastWqe() {
    if (lastWqeIsDue_.exchange(false)) AnnounceLastWqe();
  }
  void ForgetLastWqe() { lastWqeIsDue_.store(false); }

 private:
  DoneRing done() const;
  RqEntry& entry(uint64_t position) const { return qp_.context.directory().rq(ringOffset_, position, capacity_); }
  int DrainOwn(CompletionRecord* out, int max, bool* more);
  int DrainShared(CompletionRecord* out, int max, bool* more);

  const QpIdentity& qp_;
  const RemoteQueuePair& remote_;
  uint64_t ringOffset_ = 0;
  uint64_t ringBytes_ = 0;
  uint32_t capacity_ = 0;
  uint64_t posted_ = 0;
  uint64_t polled_ = 0;
  std::shared_ptr<SharedReceives> shared_;
  std::atomic<bool> lastWqeIsDue_{false};
};

}  // namespace onepiece::soft
