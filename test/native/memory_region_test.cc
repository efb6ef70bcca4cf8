// Proves that revocation is final, also against a peer that stands still in the very middle of a copy: its region is
// refused as long as it stands there and held up alone, and when it goes on it changes nothing that anybody sees. A page that is not
// there until the test gives it (held_memory.h) makes the peer stand exactly there, and SIGSTOP keeps it there after.
#include <errno.h>
#include <gtest/gtest.h>
#include <string.h>

#include "standing_peer.h"

namespace onepiece::test {
namespace {

bool IsAll(const MemoryRegion& mr, uint8_t value) {
  const auto* bytes = static_cast<const uint8_t*>(mr.Address());
  return bytes[0] == value && memcmp(bytes, bytes + 1, mr.Length() - 1) == 0;
}

class Revocation : public testing::TestWithParam<Standing> {};

TEST_P(Revocation, IsRefusedWhileAPeerStandsInTheCopyAndHoldsUpNoOtherRegion) {
  StandingPeer peer;
  if (!peer.exists()) GTEST_SKIP() << "no userfaultfd here";
  Side side;
  std::unique_ptr<MemoryRegion> target = side.Register(kStandBytes);
  std::unique_ptr<MemoryRegion> other = side.Register(kStandBytes);
  peer.LetStand(side, *side.qp, *target, GetParam());
  peer.Stop();
  EXPECT_EQ(static_cast<uint8_t*>(target->Address())[kStandAt - 4096], kStandPattern) << "it has not copied up to there";
  EXPECT_EQ(static_cast<uint8_t*>(target->Address())[kStandAt], 0);
  uint64_t started = NowMs();
  EXPECT_EQ(other->Deregister(), 0) << "another region is held up";
  EXPECT_LT(NowMs() - started, 40u) << "another region waits for the peer";
  EXPECT_EQ(target->Deregister(), -EBUSY);
  EXPECT_EQ(target->Deregister(), -EBUSY);
  EXPECT_EQ(side.qp->Close(), 0);
  EXPECT_EQ(target->Deregister(), -EBUSY) << "the queue pair is gone, the peer is still inside";
  std::unique_ptr<MemoryRegion> later = side.Register(kStandBytes);
  memset(later->Address(), 0x11, kStandBytes);
  EXPECT_EQ(later->Deregister(), 0) << "a region that was made later is held up";
  peer.GoOn();
  EXPECT_TRUE(Until([&] { return target->Deregister() == 0; }));
  memset(target->Address(), 0x22, kStandBytes);
  for (int i = 0; i < 50; i++) sched_yield();
  EXPECT_TRUE(IsAll(*target, 0x22));
  EXPECT_TRUE(IsAll(*later, 0x11));
}

TEST_P(Revocation, OfARegionThatIsClosedAbandonsItsPagesToThePeer) {
  StandingPeer peer;
  if (!peer.exists()) GTEST_SKIP() << "no userfaultfd here";
  Side side;
  std::unique_ptr<MemoryRegion> target = side.Register(kStandBytes);
  peer.LetStand(side, *side.qp, *target, GetParam());
  peer.Stop();
  EXPECT_EQ(target->Deregister(), -EBUSY);
  void* where = target->Address();
  EXPECT_EQ(target->Close(), 0);
  // Whatever takes its place is not what the peer writes to.
  std::vector<std::unique_ptr<MemoryRegion>> next;
  bool reused = false;
  for (int i = 0; i < 8; i++) {
    next.push_back(side.Register(kStandBytes));
    memset(next.back()->Address(), 0x33, kStandBytes);
    reused = reused || next.back()->Address() == where;
  }
  EXPECT_TRUE(reused) << "no region took the address, so less was proved";
  peer.GoOn();
  for (auto& region : next) EXPECT_TRUE(IsAll(*region, 0x33));
}

TEST_P(Revocation, IsFinalWhenThePeerIsKilledWhereItStands) {
  StandingPeer peer;
  if (!peer.exists()) GTEST_SKIP() << "no userfaultfd here";
  Side side;
  std::unique_ptr<MemoryRegion> target = side.Register(kStandBytes);
  peer.LetStand(side, *side.qp, *target, GetParam());
  peer.Stop();
  EXPECT_EQ(target->Deregister(), -EBUSY);
  peer.Kill();
  EXPECT_EQ(target->Deregister(), 0) << "nobody is left who could be inside";
}

INSTANTIATE_TEST_SUITE_P(By, Revocation, testing::Values(Standing::kWriting, Standing::kSending),
                         [](const auto& info) { return info.param == Standing::kWriting ? "Write" : "Send"; });

TEST(MemoryRegion, OfTheTestsOwnMemoryIsRefusedWhileASystemCallOfThePeerCopies) {
  StandingPeer peer;
  if (!peer.exists()) GTEST_SKIP() << "no userfaultfd here";
  Side side;
  std::vector<uint8_t> own(kStandBytes, 0);
  std::unique_ptr<MemoryRegion> target = side.Adopt(own.data(), own.size(), kLocalWrite | kRemoteWrite);
  peer.LetStand(side, *side.qp, *target, Standing::kWriting);
  EXPECT_EQ(target->Deregister(), -EBUSY);
  EXPECT_EQ(target->Close(), -EBUSY) << "this memory will be something else tomorrow";
  peer.GoOn();
  EXPECT_TRUE(Until([&] { return target->Close() == 0; }));
  std::fill(own.begin(), own.end(), uint8_t{0x44});
  for (int i = 0; i < 50; i++) sched_yield();
  for (uint8_t byte : own) ASSERT_EQ(byte, 0x44);
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
