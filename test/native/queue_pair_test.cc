// Proves of queue pairs: they keep their place in the directory as long as a peer may be inside; thousands of them cost
// what the documentation says, in memory and in descriptors; and their limits answer with errors.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "standing_peer.h"

namespace onepiece::test {
namespace {

TEST(QueuePair, ThatIsResetIsRefusedWhileThePeerStandsInside) {
  StandingPeer peer;
  if (!peer.exists()) GTEST_SKIP() << "no userfaultfd here";
  Side side;
  std::unique_ptr<MemoryRegion> target = side.Register(kStandBytes);
  peer.LetStand(side, *side.qp, *target, Standing::kWriting);
  peer.Stop();
  EXPECT_EQ(ToState(*side.qp, QpState::kReset), -EBUSY);
  EXPECT_EQ(StateOf(*side.qp), QpState::kError);
  peer.GoOn();
  EXPECT_TRUE(Until([&] { return ToState(*side.qp, QpState::kReset) == 0; }));
}

TEST(QueuePair, ThatIsClosedWhileThePeerStandsInsideKeepsItsReceiveRing) {
  StandingPeer peer;
  if (!peer.exists()) GTEST_SKIP() << "no userfaultfd here";
  Side side;
  std::unique_ptr<MemoryRegion> target = side.Register(kStandBytes);
  peer.LetStand(side, *side.qp, *target, Standing::kSending);
  peer.Stop();
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
  peer.GoOn();
  CompletionRecord record{};
  for (int i = 0; i < 50; i++) EXPECT_FALSE(TryTake(*side.cq, &record));
}

// Bytes of the device's directory that are really there.
uint64_t DirectoryBytes(Device& device) {
  RawNumbers raw;
  Must(device.Raw(&raw) == 0, "the directory's descriptor");
  struct stat status {};
  Must(fstat(raw.commandFd, &status) == 0, "fstat", -errno);
  return static_cast<uint64_t>(status.st_blocks) * 512;
}

size_t Descriptors() {
  size_t count = 0;
  for (int fd = 0; fd < 4096; fd++) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

TEST(QueuePair, CostsWhatIsDocumentedAndNoDescriptorOfItsOwn) {
  constexpr size_t kStep = 1000;
  constexpr int kSteps = 4;
  // 320 B in the table and 32 receives of 128 B, which are a page.
  const SideOptions small{.maxSendWr = 1, .maxRecvWr = 32};
  Side a;
  Side b;
  std::vector<std::unique_ptr<QueuePair>> all;
  uint64_t bytes[kSteps + 1];
  size_t descriptors[kSteps + 1];
  for (int step = 0; step <= kSteps; step++) {
    while (all.size() < 2 * kStep * step) {
      all.push_back(a.CreateQp(small));
      all.push_back(b.CreateQp(small));
      QueuePair& one = *all[all.size() - 2];
      QueuePair& other = *all.back();
      MustConnect(one, b.EndpointOf(other, *b.mr));
      MustConnect(other, a.EndpointOf(one, *a.mr));
      for (int i = 0; i < 32; i++) MustPost(one, ReceiveInto(*a.mr, 0, 64, i));
    }
    bytes[step] = DirectoryBytes(*a.device);
    descriptors[step] = Descriptors();
  }
  uint64_t perStep = kStep * (320 + 32 * 128);
  for (int step = 1; step <= kSteps; step++) {
    EXPECT_NEAR(static_cast<double>(bytes[step] - bytes[step - 1]), static_cast<double>(perStep), 0.02 * perStep);
  }
  EXPECT_EQ(descriptors[kSteps], descriptors[1]);
  // All are of use: the last as the first.
  for (size_t i : {size_t{0}, all.size() - 2}) {
    MustPost(*all[i + 1], Send(*b.mr, 64));
    EXPECT_EQ(TakeStatus(*b.cq), CompletionStatus::kSuccess);
    EXPECT_EQ(Take(*a.cq)[0].qpNum, all[i]->Number());
  }
  all.clear();
  all.push_back(a.CreateQp({.maxRecvWr = 1u << 15}));
}

TEST(QueuePair, ThatIsOneTooManyIsRefusedAndTheOthersGoOn) {
  Side side;
  std::vector<std::unique_ptr<QueuePair>> all;
  QpInit init;
  init.sendCq = init.receiveCq = side.cq.get();
  init.capabilities = {1, 0, 1, 1, 0};
  DeviceAttributes attributes;
  ASSERT_EQ(side.device->Query(&attributes), 0);
  int rc = 0;
  while (rc == 0) {
    std::unique_ptr<QueuePair> qp;
    rc = side.pd->CreateQp(init, &qp);
    if (rc == 0) all.push_back(std::move(qp));
    ASSERT_LE(all.size(), attributes.maxQp);
  }
  EXPECT_EQ(rc, -ENOMEM);
  EXPECT_EQ(all.size() + 1, attributes.maxQp);
  all.pop_back();
  all.push_back(side.CreateQp({.maxSendWr = 1, .maxRecvWr = 0}));
  Side other;
  MustConnect(*all.back(), other.endpoint());
  MustConnect(*other.qp, side.EndpointOf(*all.back(), *side.mr));
  MustPost(*other.qp, Write(*other.mr, side.endpoint(), 64));
  EXPECT_EQ(TakeStatus(*other.cq), CompletionStatus::kSuccess);
}

TEST(QueuePair, WhoseReceivesHaveNoRoomInTheDirectoryIsRefused) {
  Side side;
  std::vector<std::unique_ptr<QueuePair>> all;
  QpInit init;
  init.sendCq = init.receiveCq = side.cq.get();
  init.capabilities = {1, 1u << 15, 1, 1, 0};
  int rc = 0;
  while (rc == 0) {
    std::unique_ptr<QueuePair> qp;
    rc = side.pd->CreateQp(init, &qp);
    if (rc == 0) all.push_back(std::move(qp));
    ASSERT_LT(all.size(), 300u);
  }
  EXPECT_EQ(rc, -ENOMEM);
  EXPECT_GT(all.size(), 200u);
  all.pop_back();
  std::unique_ptr<QueuePair> qp;
  EXPECT_EQ(side.pd->CreateQp(init, &qp), 0) << "the room of one that was closed is not used again";
}

TEST(QueuePair, IsAnErrorWithSizesThatAreNone) {
  Side side;
  QpInit init;
  init.sendCq = init.receiveCq = side.cq.get();
  std::unique_ptr<QueuePair> qp;
  for (const QpCapabilities& bad : {QpCapabilities{0, 1, 1, 1, 0}, QpCapabilities{1u << 16, 1, 1, 1, 0},
                                    QpCapabilities{1, 1u << 16, 1, 1, 0}, QpCapabilities{1, 1, kMaxSge + 1, 1, 0},
                                    QpCapabilities{1, 1, 1, 1, 1u << 20}}) {
    init.capabilities = bad;
    EXPECT_EQ(side.pd->CreateQp(init, &qp), -EINVAL);
  }
}

}  // namespace
}  // namespace onepiece::test
