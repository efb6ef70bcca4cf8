// Proves of receives that many take: none is lost and none completes twice, with takers in many processes, while some
// are killed or stopped with one in their hands.
#include <errno.h>
#include <gtest/gtest.h>

#include <map>

#include "standing_peer.h"

namespace onepiece::test {
namespace {

std::unique_ptr<SharedReceiveQueue> CreateSrq(const Side& side, uint32_t maxWr) {
  std::unique_ptr<SharedReceiveQueue> srq;
  int rc = side.pd->CreateSrq({maxWr, 1, 0}, &srq);
  Must(rc == 0, "create a shared receive queue", rc);
  return srq;
}

int PostTo(SharedReceiveQueue& srq, const ReceiveRecord& record) {
  int taken = 0;
  return srq.PostReceive(&record, 1, &taken);
}

struct Job {
  Endpoint to;
  uint32_t sends;  // 0: without end
};

int SendMany(Channel& channel) {
  Side side;
  channel.Say(side.endpoint());
  Job job = channel.Hear<Job>();
  MustConnect(*side.qp, job.to);
  for (uint32_t n = 0; job.sends == 0 || n < job.sends; n++) {
    MustPost(*side.qp, Send(*side.mr, 64));
    CompletionRecord record{};
    while (!TryTake(*side.cq, &record)) sched_yield();
    if (record.status != 0) return 1;
  }
  channel.Say(true);
  channel.Hear<bool>();
  return 0;
}

TEST(SharedReceives, AreEachTakenOnceByManyProcesses) {
  constexpr int kSenders = 4;
  constexpr uint32_t kSends = 2000;
  std::vector<std::unique_ptr<Child>> children;
  for (int i = 0; i < kSenders; i++) children.push_back(std::make_unique<Child>(SendMany));
  Side hub;
  std::unique_ptr<SharedReceiveQueue> srq = CreateSrq(hub, 16);
  std::vector<std::unique_ptr<QueuePair>> qps;
  for (auto& child : children) {
    qps.push_back(hub.CreateQp({}, srq.get()));
    MustConnect(*qps.back(), child->channel().Hear<Endpoint>());
    child->channel().Say(Job{hub.EndpointOf(*qps.back(), *hub.mr), kSends});
  }
  bool posted[16] = {};
  auto post = [&](uint32_t id) {
    ASSERT_FALSE(posted[id]) << "told twice";
    posted[id] = true;
    ASSERT_EQ(PostTo(*srq, ReceiveInto(*hub.mr, id * 64, 64, id)), 0);
  };
  for (uint32_t id = 0; id < 16; id++) post(id);
  EXPECT_EQ(PostTo(*srq, ReceiveInto(*hub.mr, 0, 64)), -ENOMEM);
  std::map<uint32_t, uint32_t> arrived;
  for (uint32_t n = 0; n < kSenders * kSends; n++) {
    CompletionRecord record = Take(*hub.cq)[0];
    ASSERT_EQ(record.status, 0u);
    arrived[record.qpNum]++;
    auto id = static_cast<uint32_t>(record.wrId);
    posted[id] = false;
    post(id);
  }
  for (auto& qp : qps) EXPECT_EQ(arrived[qp->Number()], kSends);
  for (auto& child : children) child->channel().Hear<bool>();
  for (auto& child : children) child->channel().Say(true);
  for (auto& child : children) EXPECT_EQ(child->Wait(), 0);
}

TEST(SharedReceives, ComeBackWhateverTheTakersDieOf) {
  constexpr int kRounds = 12;
  std::vector<std::unique_ptr<Child>> children;
  for (int i = 0; i < 2 * kRounds; i++) {
    children.push_back(std::make_unique<Child>([](Channel& channel) {
      channel.Hear<bool>();
      return SendMany(channel);
    }));
  }
  Side hub;
  std::unique_ptr<SharedReceiveQueue> srq = CreateSrq(hub, 8);
  for (uint32_t id = 0; id < 8; id++) ASSERT_EQ(PostTo(*srq, ReceiveInto(*hub.mr, id * 64, 64, id)), 0);
  for (int round = 0; round < kRounds; round++) {
    Child* pair[2] = {children[2 * round].get(), children[2 * round + 1].get()};
    std::unique_ptr<QueuePair> qps[2] = {hub.CreateQp({}, srq.get()), hub.CreateQp({}, srq.get())};
    for (int i = 0; i < 2; i++) {
      pair[i]->channel().Say(true);
      MustConnect(*qps[i], pair[i]->channel().Hear<Endpoint>());
      pair[i]->channel().Say(Job{hub.EndpointOf(*qps[i], *hub.mr), 0});
    }
    for (int n = 0; n < 50 + 7 * round; n++) {
      CompletionRecord record = Take(*hub.cq)[0];
      ASSERT_EQ(record.status, 0u);
      ASSERT_EQ(PostTo(*srq, ReceiveInto(*hub.mr, 0, 64, record.wrId)), 0);
    }
    for (Child* child : pair) child->Kill();
    // Each of the eight is free, has completed, or comes back flushed: once.
    for (auto& qp : qps) ASSERT_TRUE(Until([&] { return StateOf(*qp) == QpState::kError; }));
    // What arrived before comes first; what they held follows as flushed.
    CompletionRecord record{};
    for (uint64_t quiet = NowMs() + 10; NowMs() < quiet;) {
      if (TryTake(*hub.cq, &record)) {
        ASSERT_EQ(PostTo(*srq, ReceiveInto(*hub.mr, 0, 64, record.wrId)), 0) << "more came back than were posted";
      }
    }
    for (auto& qp : qps) ASSERT_EQ(qp->Close(), 0);
  }
  // All eight are there: a new sender fills them, and the ninth finds none.
  Side last;
  std::unique_ptr<QueuePair> qp = hub.CreateQp({}, srq.get());
  MustConnect(*qp, last.endpoint());
  MustConnect(*last.qp, hub.EndpointOf(*qp, *hub.mr), {.rnrRetry = 0});
  bool seen[8] = {};
  for (int i = 0; i < 8; i++) {
    MustPost(*last.qp, Send(*last.mr, 64));
    ASSERT_EQ(TakeStatus(*last.cq), CompletionStatus::kSuccess) << "receive " << i << " is missing";
    auto id = static_cast<uint32_t>(Take(*hub.cq)[0].wrId);
    EXPECT_FALSE(seen[id]);
    seen[id] = true;
  }
  MustPost(*last.qp, Send(*last.mr, 64));
  EXPECT_EQ(TakeStatus(*last.cq), CompletionStatus::kRnrRetryExceeded);
}

TEST(SharedReceives, GoOnWhileOneTakerStandsWithAReceiveInItsHands) {
  StandingPeer peer;
  if (!peer.exists()) GTEST_SKIP() << "no userfaultfd here";
  Side hub;
  std::unique_ptr<SharedReceiveQueue> srq = CreateSrq(hub, 4);
  std::unique_ptr<MemoryRegion> target = hub.Register(kStandBytes);
  std::unique_ptr<QueuePair> its = hub.CreateQp({}, srq.get());
  ASSERT_EQ(PostTo(*srq, ReceiveInto(*target, 0, kStandBytes, 77)), 0);
  peer.LetStand(hub, *its, *target, Standing::kSendingShared);
  peer.Stop();
  for (uint32_t id = 0; id < 3; id++) ASSERT_EQ(PostTo(*srq, ReceiveInto(*hub.mr, 0, 64, id)), 0);
  EXPECT_EQ(PostTo(*srq, ReceiveInto(*hub.mr, 0, 64, 3)), -ENOMEM) << "the fourth is in the peer's hands";
  Side other;
  std::unique_ptr<QueuePair> qp = hub.CreateQp({}, srq.get());
  MustConnect(*qp, other.endpoint());
  MustConnect(*other.qp, hub.EndpointOf(*qp, *hub.mr));
  for (uint32_t n = 0; n < 30; n++) {
    MustPost(*other.qp, Send(*other.mr, 64));
    ASSERT_EQ(TakeStatus(*other.cq), CompletionStatus::kSuccess);
    CompletionRecord record = Take(*hub.cq)[0];
    ASSERT_EQ(record.wrId, n % 3);
    ASSERT_EQ(PostTo(*srq, ReceiveInto(*hub.mr, 0, 64, record.wrId)), 0);
  }
  // Its queue pair is stopped: the receive is flushed when it has left, and not before.
  EXPECT_EQ(ToState(*its, QpState::kError), 0);
  CompletionRecord record{};
  for (uint64_t until = NowMs() + 30; NowMs() < until;) EXPECT_FALSE(TryTake(*hub.cq, &record));
  EXPECT_EQ(NextEventType(*hub.device, 0), 0u) << "the last receive is not known yet";
  EXPECT_EQ(target->Deregister(), -EBUSY);
  peer.GoOn();
  record = Take(*hub.cq)[0];
  EXPECT_EQ(record.wrId, 77);
  constexpr uint32_t kLastWqeReached = 16;
  EXPECT_EQ(NextEventType(*hub.device, 1000), kLastWqeReached);
  EXPECT_TRUE(Until([&] { return target->Deregister() == 0; }));
}

}  // namespace
}  // namespace onepiece::test
