// Proves that revocation is final, also against a peer that stands still in the very middle of a copy: its region is
// refused as long as it stands there and held up alone, and when it goes on it changes nothing that anybody sees. A page that is not
// there until the test gives it (held_memory.h) makes the peer stand exactly there, and SIGSTOP keeps it there after.
#include <gtest/gtest.h>
#include <string.h>

#include "child.h"
#include "held_memory.h"

namespace onepiece::test {
namespace {

constexpr size_t kBytes = 4 << 20;
constexpr size_t kHeldAt = 3 << 20;  // beyond what the posting thread copies: the engine's thread is the one that stands

struct Order {
  Endpoint to;
  bool isSend;
};

// A child whose copy of kBytes into the test's memory stands at kHeldAt until it is told to let go.
int StandInACopy(Channel& channel) {
  HeldMemory source(kBytes, kHeldAt);
  channel.Say(source.isHeld());
  if (!source.isHeld()) return 0;
  memset(source.bytes(), 0xee, kHeldAt);
  memset(source.bytes() + kHeldAt + 4096, 0xee, kBytes - kHeldAt - 4096);
  Side side;
  std::unique_ptr<MemoryRegion> mr = side.Adopt(source.bytes(), kBytes, kLocalWrite);
  channel.Say(side.endpoint());
  Order order = channel.Hear<Order>();
  MustConnect(*side.qp, order.to);
  channel.Say(true);
  channel.Hear<bool>();
  MustPost(*side.qp, order.isSend ? Send(*mr, kBytes) : Write(*mr, order.to, kBytes));
  source.AwaitVisitor();
  channel.Say(true);
  channel.Hear<bool>();
  source.Release();
  channel.Say(TakeStatus(*side.cq));
  channel.Hear<bool>();
  return 0;
}

#define HOLD_OR_SKIP(child)               \
  if (!(child).channel().Hear<bool>()) {  \
    GTEST_SKIP() << "no userfaultfd here"; \
  }

// Connects the child's queue pair to `qp`; returns when the child stands in its copy.
void LetStand(Child& child, Side& side, QueuePair& qp, const MemoryRegion& mr, bool isSend) {
  MustConnect(qp, child.channel().Hear<Endpoint>());
  if (isSend) MustPost(qp, ReceiveInto(mr, 0, kBytes));
  child.channel().Say(Order{side.EndpointOf(qp, mr), isSend});
  child.channel().Hear<bool>();
  child.channel().Say(true);
  child.channel().Hear<bool>();
}

// The child goes on, and has ended what it was in.
CompletionStatus GoOn(Child& child) {
  child.Continue();
  child.channel().Say(true);
  return child.channel().Hear<CompletionStatus>();
}

bool IsAll(const MemoryRegion& mr, uint8_t value) {
  const auto* bytes = static_cast<const uint8_t*>(mr.Address());
  for (size_t i = 0; i < mr.Length(); i++) {
    if (bytes[i] != value) return false;
  }
  return true;
}

class Revocation : public testing::TestWithParam<bool> {};

TEST_P(Revocation, IsRefusedWhileAPeerStandsInTheCopyAndHoldsUpNoOtherRegion) {
  Child child(StandInACopy);
  HOLD_OR_SKIP(child);
  Side side;
  std::unique_ptr<MemoryRegion> target = side.Register(kBytes);
  std::unique_ptr<MemoryRegion> other = side.Register(kBytes);
  LetStand(child, side, *side.qp, *target, GetParam());
  child.Stop();
  EXPECT_EQ(static_cast<uint8_t*>(target->Address())[kHeldAt - 4096], 0xee) << "it has not copied up to there";
  EXPECT_EQ(static_cast<uint8_t*>(target->Address())[kHeldAt], 0);
  uint64_t started = NowMs();
  EXPECT_EQ(other->Deregister(), 0) << "another region is held up";
  EXPECT_LT(NowMs() - started, 40u) << "another region waits for the peer";
  EXPECT_EQ(target->Deregister(), -EBUSY);
  EXPECT_EQ(target->Deregister(), -EBUSY);
  EXPECT_EQ(side.qp->Close(), 0);
  EXPECT_EQ(target->Deregister(), -EBUSY) << "the queue pair is gone, the peer is still inside";
  std::unique_ptr<MemoryRegion> later = side.Register(kBytes);
  memset(later->Address(), 0x11, kBytes);
  EXPECT_EQ(later->Deregister(), 0) << "a region that was made later is held up";
  GoOn(child);
  EXPECT_TRUE(Until([&] { return target->Deregister() == 0; }));
  memset(target->Address(), 0x22, kBytes);
  for (int i = 0; i < 50; i++) sched_yield();
  EXPECT_TRUE(IsAll(*target, 0x22));
  EXPECT_TRUE(IsAll(*later, 0x11));
}

TEST_P(Revocation, OfARegionThatIsClosedAbandonsItsPagesToThePeer) {
  Child child(StandInACopy);
  HOLD_OR_SKIP(child);
  Side side;
  std::unique_ptr<MemoryRegion> target = side.Register(kBytes);
  LetStand(child, side, *side.qp, *target, GetParam());
  child.Stop();
  EXPECT_EQ(target->Deregister(), -EBUSY);
  void* where = target->Address();
  EXPECT_EQ(target->Close(), 0);
  // Whatever takes its place is not what the peer writes to.
  std::vector<std::unique_ptr<MemoryRegion>> next;
  bool reused = false;
  for (int i = 0; i < 8; i++) {
    next.push_back(side.Register(kBytes));
    memset(next.back()->Address(), 0x33, kBytes);
    reused = reused || next.back()->Address() == where;
  }
  EXPECT_TRUE(reused) << "no region took the address, so less was proved";
  GoOn(child);
  for (auto& region : next) EXPECT_TRUE(IsAll(*region, 0x33));
}

TEST_P(Revocation, IsFinalWhenThePeerIsKilledWhereItStands) {
  Child child(StandInACopy);
  HOLD_OR_SKIP(child);
  Side side;
  std::unique_ptr<MemoryRegion> target = side.Register(kBytes);
  LetStand(child, side, *side.qp, *target, GetParam());
  child.Stop();
  EXPECT_EQ(target->Deregister(), -EBUSY);
  child.Kill();
  EXPECT_EQ(target->Deregister(), 0) << "nobody is left who could be inside";
}

INSTANTIATE_TEST_SUITE_P(By, Revocation, testing::Bool(),
                         [](const auto& info) { return info.param ? "Send" : "Write"; });

TEST(MemoryRegion, OfTheTestsOwnMemoryIsRefusedWhileASystemCallOfThePeerCopies) {
  Child child(StandInACopy);
  HOLD_OR_SKIP(child);
  Side side;
  std::vector<uint8_t> own(kBytes, 0);
  std::unique_ptr<MemoryRegion> target = side.Adopt(own.data(), own.size(), kLocalWrite | kRemoteWrite);
  LetStand(child, side, *side.qp, *target, false);
  EXPECT_EQ(target->Deregister(), -EBUSY);
  EXPECT_EQ(target->Close(), -EBUSY) << "this memory will be something else tomorrow";
  GoOn(child);
  EXPECT_TRUE(Until([&] { return target->Close() == 0; }));
  std::fill(own.begin(), own.end(), uint8_t{0x44});
  for (int i = 0; i < 50; i++) sched_yield();
  for (uint8_t byte : own) ASSERT_EQ(byte, 0x44);
}

TEST(QueuePair, ThatIsResetIsRefusedWhileThePeerStandsInside) {
  Child child(StandInACopy);
  HOLD_OR_SKIP(child);
  Side side;
  std::unique_ptr<MemoryRegion> target = side.Register(kBytes);
  LetStand(child, side, *side.qp, *target, false);
  child.Stop();
  EXPECT_EQ(ToState(*side.qp, QpState::kReset), -EBUSY);
  EXPECT_EQ(StateOf(*side.qp), QpState::kError);
  GoOn(child);
  EXPECT_TRUE(Until([&] { return ToState(*side.qp, QpState::kReset) == 0; }));
}

TEST(QueuePair, ThatIsClosedWhileThePeerStandsInsideKeepsItsReceiveRing) {
  Child child(StandInACopy);
  HOLD_OR_SKIP(child);
  Side side;
  std::unique_ptr<MemoryRegion> target = side.Register(kBytes);
  LetStand(child, side, *side.qp, *target, true);
  child.Stop();
  uint32_t number = side.qp->Number();
  EXPECT_EQ(side.qp->Close(), 0);
  // Its ring and its slot are not given to any of these, in which the peer would complete a receive that never was.
  std::vector<std::unique_ptr<QueuePair>> next;
  Side other;
  for (int i = 0; i < 8; i++) {
    next.push_back(side.CreateQp());
    EXPECT_NE(next.back()->Number() & 0x3fff, number & 0x3fff);
    MustConnect(*next.back(), other.endpoint());
    MustPost(*next.back(), ReceiveInto(*target, 0, 64, i));
  }
  GoOn(child);
  CompletionRecord record{};
  for (int i = 0; i < 50; i++) EXPECT_FALSE(TryTake(*side.cq, &record));
}

TEST(MemoryRegion, RefusesWhatExcludesItself) {
  Side side;
  std::unique_ptr<MemoryRegion> region;
  MemoryInit init;
  init.bytes = 4096;
  init.access = kRemoteWrite;
  EXPECT_EQ(side.pd->RegisterMemory(init, &region), -EINVAL);
  init.access = 1u << 9;
  EXPECT_EQ(side.pd->RegisterMemory(init, &region), -EINVAL);
  init.access = kLocalWrite;
  init.bytes = size_t{1} << 45;
  EXPECT_EQ(side.pd->RegisterMemory(init, &region), -ENOMEM);
}

}  // namespace
}  // namespace onepiece::test
