// Proves of the engine: each operation does what it says between two devices; atomics of many processes lose nothing;
// and under a sanitizer, that many devices and threads may work on each other at once, while regions and queue pairs
// come and go.
#include <gtest/gtest.h>
#include <string.h>

#include <atomic>
#include <thread>

#include "child.h"

namespace onepiece::test {
namespace {

TEST(Engine, CarriesOutEveryOperationBetweenTwoDevices) {
  Side a;
  Side b;
  ConnectSides(a, b);
  const Endpoint to = b.endpoint();
  memset(a.bytes(), 0x5a, 4096);
  MustPost(*a.qp, Write(*a.mr, to, 4096));
  EXPECT_EQ(TakeStatus(*a.cq), CompletionStatus::kSuccess);
  EXPECT_EQ(memcmp(a.bytes(), b.bytes(), 4096), 0);
  memset(b.bytes(), 0x77, 4096);
  MustPost(*a.qp, Read(*a.mr, to, 4096));
  EXPECT_EQ(TakeStatus(*a.cq), CompletionStatus::kSuccess);
  EXPECT_EQ(a.bytes()[4095], 0x77);
  b.words()[0] = 40;
  MustPost(*a.qp, FetchAdd(*a.mr, to, 2));
  EXPECT_EQ(TakeStatus(*a.cq), CompletionStatus::kSuccess);
  EXPECT_EQ(a.words()[0], 40u);
  MustPost(*a.qp, CompareSwap(*a.mr, to, 42, 7));
  EXPECT_EQ(TakeStatus(*a.cq), CompletionStatus::kSuccess);
  EXPECT_EQ(a.words()[0], 42u);
  EXPECT_EQ(b.words()[0], 7u);
  MustPost(*b.qp, ReceiveInto(*b.mr, 8192, 64, 5));
  MustPost(*a.qp, Send(*a.mr, 64));
  EXPECT_EQ(TakeStatus(*a.cq), CompletionStatus::kSuccess);
  CompletionRecord received = Take(*b.cq)[0];
  EXPECT_EQ(received.wrId, 5);
  EXPECT_EQ(received.byteLength, 64u);
  EXPECT_EQ(memcmp(a.bytes(), b.bytes() + 8192, 64), 0);
}

TEST(Engine, CopiesWhatIsLargeOnItsThreadWhileSmallRequestsOfOtherQueuePairsGoOn) {
  const uint32_t large = 64u << 20;
  Side a({.bytes = large});
  Side b({.bytes = large});
  ConnectSides(a, b);
  std::unique_ptr<QueuePair> quick = a.CreateQp();
  std::unique_ptr<QueuePair> quickPeer = b.CreateQp();
  MustConnect(*quick, b.EndpointOf(*quickPeer, *b.mr));
  MustConnect(*quickPeer, a.EndpointOf(*quick, *a.mr));
  std::unique_ptr<MemoryRegion> small = a.Register(64);
  memset(a.bytes(), 3, large);
  // All but the first page, which is what the small requests read meanwhile.
  const uint32_t page = 4096;
  SendRecord slow = Write(*a.mr, b.endpoint(), large - page, page);
  slow.wrId = 99;
  MustPost(*a.qp, slow);
  size_t before = 0;
  for (bool done = false; !done;) {
    SendRecord read = Read(*small, b.endpoint(), 64);
    MustPost(*quick, read);
    for (bool answered = false; !answered;) {
      CompletionRecord record = Take(*a.cq)[0];
      ASSERT_EQ(record.status, static_cast<uint32_t>(CompletionStatus::kSuccess));
      (record.wrId == 99 ? done : answered) = true;
    }
    if (!done) before++;
  }
  EXPECT_GT(before, 0u);
  EXPECT_EQ(b.bytes()[large - 1], 3);
}

TEST(Engine, LosesNoAtomicOfManyProcesses) {
  constexpr int kChildren = 4;
  constexpr uint64_t kAdds = 3000;
  struct Plan {
    Endpoint to;
  };
  std::vector<std::unique_ptr<Child>> children;
  for (int i = 0; i < kChildren; i++) {
    children.push_back(std::make_unique<Child>([](Channel& channel) {
      Side side;
      channel.Say(side.endpoint());
      Plan plan = channel.Hear<Plan>();
      MustConnect(*side.qp, plan.to);
      for (uint64_t n = 0; n < kAdds; n++) {
        MustPost(*side.qp, FetchAdd(*side.mr, plan.to, 1));
        if (TakeStatus(*side.cq) != CompletionStatus::kSuccess) return 1;
      }
      channel.Say(true);
      channel.Hear<bool>();
      return 0;
    }));
  }
  Side hub;
  std::vector<std::unique_ptr<QueuePair>> qps;
  for (auto& child : children) {
    qps.push_back(hub.CreateQp());
    MustConnect(*qps.back(), child->channel().Hear<Endpoint>());
    child->channel().Say(Plan{hub.EndpointOf(*qps.back(), *hub.mr)});
  }
  auto* word = reinterpret_cast<std::atomic<uint64_t>*>(hub.bytes());
  for (uint64_t n = 0; n < kAdds; n++) word->fetch_add(1);  // and the CPU's own agree
  for (auto& child : children) child->channel().Hear<bool>();
  EXPECT_EQ(word->load(), kAdds * (kChildren + 1));
  for (auto& child : children) child->channel().Say(true);
  for (auto& child : children) EXPECT_EQ(child->Wait(), 0);
}

// Each thread has a device, as each worker of Node.js has. All write into the region of the next one.
TEST(Engine, LetsManyDevicesOfAProcessWorkOnEachOtherWhileObjectsComeAndGo) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 20;
  struct Desk {
    Endpoint in{};  // of the queue pair that the previous thread posts to
    Endpoint out{};
  };
  Desk desks[kThreads];
  std::atomic<int> arrived{0};
  std::atomic<int> bad{0};
  auto meet = [&](int n) {
    arrived.fetch_add(1);
    Must(Until([&] { return arrived.load() >= n * kThreads; }), "the others do not come");
  };
  auto work = [&](int me) {
    Side side;
    std::unique_ptr<MemoryRegion> source = side.Register(6 << 20);
    int meetings = 0;
    for (int round = 0; round < kRounds; round++) {
      std::unique_ptr<QueuePair> out = side.CreateQp();
      std::unique_ptr<MemoryRegion> target = side.Register(6 << 20);
      desks[me] = {side.EndpointOf(*side.qp, *target), side.EndpointOf(*out, *source)};
      meet(++meetings);
      Endpoint next = desks[(me + 1) % kThreads].in;
      MustConnect(*out, next);
      MustConnect(*side.qp, desks[(me + kThreads - 1) % kThreads].out);
      MustPost(*side.qp, ReceiveInto(*target, 0, 4096, 7));
      meet(++meetings);
      SendRecord records[3] = {Write(*source, next, 5 << 20), FetchAdd(*source, next, 1), Send(*source, 4096)};
      for (int i = 0; i < 3; i++) records[i].wrId = i;
      int taken = 0;
      Must(out->PostSend(records, 3, &taken) == 0 && taken == 3, "post three");
      if (round % 2 == 0) {
        // To a good end, all of it.
        for (int left = 4; left > 0; left--) {
          if (TakeStatus(*side.cq) != CompletionStatus::kSuccess) bad++;
        }
      } else if (round % 4 == 1) {
        Must(Until([&] { return target->Deregister() == 0; }), "deregister under way");
        std::vector<uint8_t> seen(target->Length());
        memcpy(seen.data(), target->Address(), seen.size());
        for (int i = 0; i < 20; i++) sched_yield();
        if (memcmp(seen.data(), target->Address(), seen.size()) != 0) bad++;
      }
      out->Close();
      Must(Until([&] { return ToState(*side.qp, QpState::kReset) == 0; }), "reset");
      CompletionRecord late{};
      while (TryTake(*side.cq, &late)) {
      }
      meet(++meetings);
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; i++) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(bad.load(), 0);
}

TEST(Engine, TakesNewAttributesWhileItsThreadWaitsForTheOldOnes) {
  Side a;
  Side b;
  ConnectSides(a, b, {.rnrRetry = 7});
  MustPost(*a.qp, Send(*a.mr, 64));  // no receive is there: the engine's thread waits for it
  for (uint32_t i = 0; i < 200; i++) {
    QpAttributes to;
    to.mask = kMaskState | kMaskMinRnrTimer | kMaskAccessFlags;
    to.state = QpState::kReadyToSend;
    to.minRnrTimer = i % 32;
    to.accessFlags = kAllAccess;
    ASSERT_EQ(a.qp->Modify(to), 0);
    ASSERT_EQ(ToState(*a.qp, QpState::kSendQueueDrained), 0);
    to.mask = kMaskState | kMaskTimeout | kMaskRetryCount | kMaskRnrRetry;
    to.state = QpState::kSendQueueDrained;
    to.timeout = 8 + i % 4;
    to.retryCount = i % 8;
    to.rnrRetry = 7;
    ASSERT_EQ(a.qp->Modify(to), 0);
    ASSERT_EQ(ToState(*a.qp, QpState::kReadyToSend), 0);
  }
  MustPost(*b.qp, ReceiveInto(*b.mr, 0, 64));
  EXPECT_EQ(TakeStatus(*a.cq), CompletionStatus::kSuccess);
  EXPECT_EQ(TakeStatus(*b.cq), CompletionStatus::kSuccess);
}

}  // namespace
}  // namespace onepiece::test
