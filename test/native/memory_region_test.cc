// Proves that revocation is final, also against a peer that is blocked in the middle of a copy: only its region is
// refused and held up as long as the peer is blocked, and when the peer goes on it changes nothing that anybody sees. A
// page that is not there until the test gives it (held_memory.h) blocks the peer at a chosen byte, and SIGSTOP keeps it
// there after.
#include <errno.h>
#include <gtest/gtest.h>
#include <string.h>

#include <fstream>

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

TEST(MemoryRegion, LosesARightByReregistrationAndKeepsItsKeyAndContents) {
  Side a;
  Side b;
  ConnectSides(a, b);
  std::unique_ptr<MemoryRegion> target = b.Register(4096);
  const uint32_t key = target->RemoteKey();
  const Endpoint to = b.EndpointOf(*b.qp, *target);
  MustPost(*a.qp, Write(*a.mr, to, 64));
  ASSERT_EQ(TakeStatus(*a.cq), CompletionStatus::kSuccess);
  memset(target->Address(), 0x66, 4096);
  uint32_t access = kLocalWrite | kRemoteRead;
  ASSERT_EQ(target->Reregister(&access, nullptr), 0);
  EXPECT_EQ(target->RemoteKey(), key);
  MustPost(*a.qp, Read(*a.mr, to, 64));
  EXPECT_EQ(TakeStatus(*a.cq), CompletionStatus::kSuccess);
  EXPECT_EQ(a.bytes()[63], 0x66);
  MustPost(*a.qp, Write(*a.mr, to, 64));
  EXPECT_EQ(TakeStatus(*a.cq), CompletionStatus::kRemoteAccessError);
  EXPECT_TRUE(IsAll(*target, 0x66));
}

TEST(MemoryRegion, MovesToAnotherDomainAndAwayFromTheQueuePairsOfTheOldOne) {
  Side a;
  Side b;
  std::unique_ptr<ProtectionDomain> other;
  ASSERT_EQ(b.device->AllocateProtectionDomain(&other), 0);
  std::unique_ptr<MemoryRegion> target = b.Register(4096);
  EXPECT_EQ(target->Reregister(nullptr, a.pd.get()), -EINVAL) << "of another device";
  ASSERT_EQ(target->Reregister(nullptr, other.get()), 0);
  EXPECT_EQ(other->Close(), -EBUSY) << "it has a region now";
  ConnectSides(a, b);
  MustPost(*a.qp, Write(*a.mr, b.EndpointOf(*b.qp, *target), 64));
  EXPECT_EQ(TakeStatus(*a.cq), CompletionStatus::kRemoteAccessError);
  for (Side* side : {&a, &b}) ASSERT_EQ(ToState(*side->qp, QpState::kReset), 0);
  ASSERT_EQ(target->Reregister(nullptr, b.pd.get()), 0);
  EXPECT_EQ(other->Close(), 0);
  ConnectSides(a, b);
  MustPost(*a.qp, Write(*a.mr, b.EndpointOf(*b.qp, *target), 64));
  EXPECT_EQ(TakeStatus(*a.cq), CompletionStatus::kSuccess);
  ASSERT_EQ(target->Deregister(), 0);
  EXPECT_EQ(target->Reregister(nullptr, b.pd.get()), -EINVAL);
}

TEST(MemoryRegion, IsNotReregisteredWhileAPeerStandsInACopy) {
  StandingPeer peer;
  if (!peer.exists()) GTEST_SKIP() << "no userfaultfd here";
  Side side;
  std::unique_ptr<MemoryRegion> target = side.Register(kStandBytes);
  peer.LetStand(side, *side.qp, *target, Standing::kWriting);
  peer.Stop();
  uint32_t access = kLocalWrite | kRemoteRead;
  EXPECT_EQ(target->Reregister(&access, nullptr), -EBUSY);
  EXPECT_EQ(peer.GoOn(), CompletionStatus::kRemoteAccessError) << "the next piece of the copy was still allowed";
  EXPECT_TRUE(Until([&] { return target->Reregister(&access, nullptr) == 0; }));
}

// Sets huge pages aside for as long as it lives, where it may.
class HugePages {
 public:
  HugePages() {
    std::ifstream(kFile) >> before_;
    std::ofstream(kFile) << before_ + 4;
    std::ifstream(kFile) >> now_;
  }
  ~HugePages() { std::ofstream(kFile) << before_; }
  bool areThere() const { return now_ >= before_ + 4; }

 private:
  static constexpr char kFile[] = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
  int before_ = 0;
  int now_ = 0;
};

TEST(MemoryRegion, OfHugePagesIsWrittenToByAPeer) {
  constexpr size_t kHuge = 2 << 20;
  HugePages pages;
  if (!pages.areThere()) GTEST_SKIP() << "no huge pages can be set aside here";
  Child child([](Channel& channel) {
    Side side({.bytes = kHuge});
    memset(side.bytes(), 0x55, kHuge);
    channel.Say(side.endpoint());
    Endpoint to = channel.Hear<Endpoint>();
    MustConnect(*side.qp, to);
    MustPost(*side.qp, Write(*side.mr, to, kHuge));
    channel.Say(TakeStatus(*side.cq));
    MustPost(*side.qp, FetchAdd(*side.mr, to, 1));
    channel.Say(TakeStatus(*side.cq));
    return 0;
  });
  Side side;
  MemoryInit init;
  init.bytes = kHuge + 5;
  init.pageBytes = kHuge;
  init.access = kAllAccess;
  std::unique_ptr<MemoryRegion> target;
  ASSERT_EQ(side.pd->RegisterMemory(init, &target), 0);
  EXPECT_EQ(target->Length(), kHuge + 5);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(target->Address()) % kHuge, 0u);
  MustConnect(*side.qp, child.channel().Hear<Endpoint>());
  child.channel().Say(side.EndpointOf(*side.qp, *target));
  EXPECT_EQ(child.channel().Hear<CompletionStatus>(), CompletionStatus::kSuccess);
  EXPECT_EQ(child.channel().Hear<CompletionStatus>(), CompletionStatus::kSuccess);
  EXPECT_EQ(static_cast<uint8_t*>(target->Address())[0], 0x56);
  EXPECT_EQ(static_cast<uint8_t*>(target->Address())[kHuge - 1], 0x55);
  EXPECT_EQ(static_cast<uint8_t*>(target->Address())[kHuge], 0);
  std::unique_ptr<MemoryRegion> tooLarge;
  init.bytes = size_t{1} << 40;
  EXPECT_EQ(side.pd->RegisterMemory(init, &tooLarge), -ENOMEM);
  EXPECT_EQ(target->Close(), 0);
}

TEST(MemoryRegion, OfPagesThatThisMachineHasNotIsRefused) {
  Side side;
  std::unique_ptr<MemoryRegion> region;
  MemoryInit init;
  init.bytes = 4096;
  init.access = kLocalWrite;
  init.pageBytes = size_t{1} << 33;
  EXPECT_EQ(side.pd->RegisterMemory(init, &region), -ENOTSUP);
  init.pageBytes = 12345;
  EXPECT_EQ(side.pd->RegisterMemory(init, &region), -EINVAL);
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
