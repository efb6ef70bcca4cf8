// A process whose copy into the test's memory blocks at a chosen byte, until the test lets it go on.
// Invariant: from when LetStand() has returned until GoOn() or Kill() its engine is inside, on the way to change memory
// that it was allowed to change when it came.
#pragma once

#include "child.h"

namespace onepiece::test {

// What it does with its kStandBytes.
enum class Standing : uint32_t {
  kWriting,   // a WRITE to the region
  kSending,   // a SEND into a receive that is posted for it
  kSendingShared,  // the same, and the receive is of a shared queue, posted by the test
};

constexpr size_t kStandBytes = 8 << 20;
// Beyond what the posting thread copies: the engine's thread is the one that blocks. Up to a page before, all is
// copied.
constexpr size_t kStandAt = 3 << 20;
constexpr uint8_t kStandPattern = 0xee;

class StandingPeer {
 public:
  StandingPeer();
  // False where the kernel gives no userfaultfd to this user: nothing else may be called then.
  bool exists() const { return exists_; }
  // Connects it to `qp`; returns when it is blocked in its copy into `mr`.
  void LetStand(Side& side, QueuePair& qp, const MemoryRegion& mr, Standing how) {
    LetStandAfter(side, qp, mr, how, mr.RemoteKey(), [] {});
  }
  // The same under another key, with something to be done before it posts.
  void LetStandAfter(Side& side, QueuePair& qp, const MemoryRegion& mr, Standing how, uint32_t rkey,
                     const std::function<void()>& prepare);
  // Nothing of it runs any more, until GoOn(). Not when it is in a system call, which cannot be stopped there.
  void Stop() { child_.Stop(); }
  // It goes on, and has ended what it was in: how.
  CompletionStatus GoOn();
  void Kill() { child_.Kill(); }

 private:
  Child child_;
  bool exists_;
};

}  // namespace onepiece::test
