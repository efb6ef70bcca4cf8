// Proves of memory windows that none outlives its revocation: not one whose bind runs while its region is deregistered,
// not one whose user is blocked in the middle of a copy.
#include <errno.h>
#include <gtest/gtest.h>

#include <chrono>

#include "standing_peer.h"

namespace onepiece::test {
namespace {

uint32_t NextKey(uint32_t key) { return (key & ~0xffu) | ((key + 1) & 0xffu); }

SendRecord Bind(const MemoryWindow& window, uint32_t present, const MemoryRegion& mr) {
  SendRecord record{};
  record.wrId = 2;
  record.opcode = static_cast<uint32_t>(WorkOpcode::kBindMw);
  record.flags = kSignaled;
  record.addressHandle = window.Number();
  record.imm = present;
  record.rkey = NextKey(present);
  record.remoteQpn = mr.LocalKey();
  record.remoteQkey = kRemoteWrite | kRemoteRead;
  record.remoteAddress = static_cast<double>(reinterpret_cast<uintptr_t>(mr.Address()));
  record.compareAdd = mr.Length();
  return record;
}

SendRecord Invalidate(uint32_t key) {
  SendRecord record{};
  record.wrId = 3;
  record.opcode = static_cast<uint32_t>(WorkOpcode::kLocalInvalidate);
  record.flags = kSignaled;
  record.rkey = key;
  return record;
}

std::unique_ptr<MemoryWindow> Allocate(const Side& side) {
  std::unique_ptr<MemoryWindow> window;
  Must(side.pd->AllocateWindow(&window) == 0, "allocate a window");
  return window;
}

// The bind runs on the engine's thread, behind a SEND that waits for a receive; the receive is posted, and at about the
// moment in which the bind is carried out the region is deregistered. Of the two exactly one succeeds.
TEST(MemoryWindow, IsNotBoundToARegionThatIsDeregisteredMeanwhile) {
  constexpr int kRounds = 4000;
  Side a;
  Side b;
  int bound = 0;
  int gone = 0;
  uint32_t random = 1;
  for (int round = 0; round < kRounds; round++) {
    ConnectSides(a, b);
    std::unique_ptr<MemoryWindow> window = Allocate(b);
    std::unique_ptr<MemoryRegion> mr = b.Register(4096, kAllAccess | kMwBindAllowed);
    SendRecord first = Send(*b.mr, 8);
    first.flags = 0;
    MustPost(*b.qp, first);
    MustPost(*b.qp, Bind(*window, window->RemoteKey(), *mr));
    MustPost(*a.qp, ReceiveInto(*a.mr, 0, 8));
    // Up to a nanosecond in one round, to two in the next, and so on to 4 ms: how long the thread takes to wake is the
    // machine's, and on a busy one it waits for a processor.
    random = random * 1664525 + 1013904223;
    const std::chrono::nanoseconds pause((random >> 8) & ((1u << (round % 23)) - 1));
    for (auto end = std::chrono::steady_clock::now() + pause; std::chrono::steady_clock::now() < end;) {
    }
    int rc = mr->Deregister();
    bool isBound = TakeStatus(*b.cq) == CompletionStatus::kSuccess;
    (isBound ? bound : gone)++;
    EXPECT_EQ(rc, isBound ? -EINVAL : 0) << "round " << round;
    if (isBound && rc == 0) {
      Endpoint to = b.endpoint();
      to.address = reinterpret_cast<uint64_t>(mr->Address());
      to.rkey = NextKey(window->RemoteKey());
      MustPost(*a.qp, Write(*a.mr, to, 8));
      Take(*a.cq);  // the receive
      ASSERT_NE(TakeStatus(*a.cq), CompletionStatus::kSuccess) << "a peer wrote to a region that was deregistered";
    }
    for (Side* side : {&a, &b}) {
      Must(Until([&] { return ToState(*side->qp, QpState::kReset) == 0; }), "reset");
      CompletionRecord late{};
      while (TryTake(*side->cq, &late)) {
      }
    }
    window->Close();
  }
  EXPECT_GT(bound, 0) << "no round raced";
  EXPECT_GT(gone, 0) << "no round raced";
}

TEST(MemoryWindow, KeepsItsRegionWhileAPeerStandsInACopyThroughIt) {
  StandingPeer peer;
  if (!peer.exists()) GTEST_SKIP() << "no userfaultfd here";
  Side side;
  std::unique_ptr<MemoryRegion> target = side.Register(kStandBytes, kLocalWrite | kMwBindAllowed);
  std::unique_ptr<MemoryWindow> window = Allocate(side);
  Side other;
  // The window is bound on the queue pair that the peer will use, so that one is connected first.
  uint32_t key = NextKey(window->RemoteKey());
  peer.LetStandAfter(side, *side.qp, *target, Standing::kWriting, key, [&] {
    MustPost(*side.qp, Bind(*window, window->RemoteKey(), *target));
    Must(TakeStatus(*side.cq) == CompletionStatus::kSuccess, "bind");
  });
  peer.Stop();
  EXPECT_EQ(target->Deregister(), -EINVAL) << "it is bound";
  MustPost(*side.qp, Invalidate(key));
  CompletionRecord record{};
  for (uint64_t until = NowMs() + 50; NowMs() < until;) EXPECT_FALSE(TryTake(*side.cq, &record)) << "invalid too early";
  EXPECT_EQ(target->Deregister(), -EBUSY) << "its key is gone, its user is not";
  EXPECT_EQ(window->Close(), -EBUSY);
  peer.GoOn();
  // With success, or flushed: the peer's next piece finds the key gone, and that stops both queue pairs.
  EXPECT_EQ(Take(*side.cq)[0].wrId, 3);
  EXPECT_TRUE(Until([&] { return target->Deregister() == 0; }));
  EXPECT_EQ(window->Close(), 0);
}

}  // namespace
}  // namespace onepiece::test
