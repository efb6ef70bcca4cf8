// Proves of a peer's pages that are mapped here: they can be handed on to others, also when their owner is gone; that
// ends with the key, and never copies.
#include <errno.h>
#include <gtest/gtest.h>
#include <string.h>

#include <set>

#include "child.h"

namespace onepiece::test {
namespace {

constexpr uint32_t kShared = kLocalWrite | kRemoteWrite | kRemoteRead | kRemoteMap;
constexpr size_t kBytes = 3 * 4096 + 5;

std::unique_ptr<RemoteMapping> Map(QueuePair& qp, const Endpoint& at, uint64_t offset = 0, uint64_t bytes = kBytes) {
  std::unique_ptr<RemoteMapping> mapping;
  int rc = qp.MapRemote(at.address + offset, at.rkey, bytes, &mapping);
  Must(rc == 0, "map", rc);
  return mapping;
}

std::unique_ptr<MemoryRegion> HandOn(ProtectionDomain& pd, const RemoteMapping& mapping, uint32_t access = kShared) {
  std::unique_ptr<MemoryRegion> region;
  MemoryInit init;
  init.mapping = &mapping;
  init.access = access;
  int rc = pd.RegisterMemory(init, &region);
  Must(rc == 0, "hand on", rc);
  return region;
}

uint8_t* BytesOf(const RemoteMapping& mapping) { return static_cast<uint8_t*>(mapping.Address()); }

// Has a region, says of what it is, and waits for its end.
int Own(Channel& channel) {
  Side side({.bytes = kBytes, .access = kShared});
  memset(side.bytes(), 0x5a, kBytes);
  channel.Say(side.endpoint());
  MustConnect(*side.qp, channel.Hear<Endpoint>());
  channel.Say(true);
  channel.Hear<bool>();
  return 0;
}

// Maps the endpoint that it hears, says the last byte that it sees there, and says it again at each message.
int Look(Channel& channel) {
  Side side;
  channel.Say(side.endpoint());
  const Endpoint to = channel.Hear<Endpoint>();
  MustConnect(*side.qp, to);
  std::unique_ptr<RemoteMapping> mapping = Map(*side.qp, to);
  for (;;) {
    channel.Say(BytesOf(*mapping)[kBytes - 1]);
    if (!channel.Hear<bool>()) return 0;
  }
}

TEST(RemoteMapping, IsHandedOnToAThirdProcessAfterItsOwnerHasDied) {
  Child owner(Own);
  Child third(Look);
  Side near;
  Side far;
  const Endpoint origin = owner.channel().Hear<Endpoint>();
  MustConnect(*near.qp, origin);
  owner.channel().Say(near.endpoint());
  owner.channel().Hear<bool>();
  std::unique_ptr<RemoteMapping> mapping = Map(*near.qp, origin);
  owner.Kill();
  std::unique_ptr<MemoryRegion> region = HandOn(*far.pd, *mapping);
  EXPECT_EQ(region->Length(), kBytes);
  EXPECT_EQ(region->Address(), mapping->Address());
  MustConnect(*far.qp, third.channel().Hear<Endpoint>());
  third.channel().Say(far.EndpointOf(*far.qp, *region));
  EXPECT_EQ(third.channel().Hear<uint8_t>(), 0x5a);
  BytesOf(*mapping)[kBytes - 1] = 0x5b;
  third.channel().Say(true);
  EXPECT_EQ(third.channel().Hear<uint8_t>(), 0x5b) << "they are the same pages";
  // Nobody here holds them any more.
  ASSERT_EQ(region->Close(), 0);
  ASSERT_EQ(mapping->Close(), 0);
  third.channel().Say(true);
  EXPECT_EQ(third.channel().Hear<uint8_t>(), 0x5b) << "whoever has mapped them keeps them";
  third.channel().Say(false);
  EXPECT_EQ(third.Wait(), 0);
}

// Three sides in one process: `owner` has memory, `middle` maps it and hands it on, `last` reaches it through `middle`.
struct Three {
  Three() {
    target = owner.Register(kBytes, kShared);
    memset(target->Address(), 0x11, kBytes);
    ConnectSides(middle, owner);
    last = std::make_unique<Side>();
    // The middle has a queue pair for each.
    onward = middle.CreateQp();
    MustConnect(*onward, last->endpoint());
    MustConnect(*last->qp, middle.EndpointOf(*onward, *middle.mr));
    mapping = Map(*middle.qp, owner.EndpointOf(*owner.qp, *target));
  }
  Side owner;
  Side middle;
  std::unique_ptr<Side> last;
  std::unique_ptr<QueuePair> onward;
  std::unique_ptr<MemoryRegion> target;
  std::unique_ptr<RemoteMapping> mapping;
};

TEST(RemoteMapping, ThatIsHandedOnIsReadAndWrittenAsItsRightsSay) {
  Three three;
  std::unique_ptr<MemoryRegion> region = HandOn(*three.middle.pd, *three.mapping);
  const Endpoint at = three.middle.EndpointOf(*three.onward, *region);
  Side& last = *three.last;
  MustPost(*last.qp, Read(*last.mr, at, kBytes));
  ASSERT_EQ(TakeStatus(*last.cq), CompletionStatus::kSuccess);
  EXPECT_EQ(last.bytes()[kBytes - 1], 0x11);
  memset(last.bytes(), 0x22, kBytes);
  MustPost(*last.qp, Write(*last.mr, at, kBytes));
  ASSERT_EQ(TakeStatus(*last.cq), CompletionStatus::kSuccess);
  EXPECT_EQ(static_cast<uint8_t*>(three.target->Address())[kBytes - 1], 0x22);
  EXPECT_EQ(region->Close(), 0);
  region = HandOn(*three.middle.pd, *three.mapping, kLocalWrite | kRemoteRead);
  const Endpoint readOnly = three.middle.EndpointOf(*three.onward, *region);
  std::unique_ptr<RemoteMapping> mapping;
  EXPECT_EQ(last.qp->MapRemote(readOnly.address, readOnly.rkey, 64, &mapping), -EACCES);
  MustPost(*last.qp, Write(*last.mr, readOnly, 64));
  EXPECT_EQ(TakeStatus(*last.cq), CompletionStatus::kRemoteAccessError);
}

TEST(RemoteMapping, OfAPieceIsHandedOnAsThatPiece) {
  Three three;
  auto* bytes = static_cast<uint8_t*>(three.target->Address());
  for (size_t i = 0; i < kBytes; i++) bytes[i] = static_cast<uint8_t>(i / 100);
  const Endpoint origin = three.owner.EndpointOf(*three.owner.qp, *three.target);
  std::unique_ptr<RemoteMapping> piece = Map(*three.middle.qp, origin, 4200, 700);
  std::unique_ptr<MemoryRegion> region = HandOn(*three.middle.pd, *piece);
  const Endpoint at = three.middle.EndpointOf(*three.onward, *region);
  std::unique_ptr<RemoteMapping> there = Map(*three.last->qp, at, 200, 500);
  EXPECT_EQ(BytesOf(*there)[0], 44);
  EXPECT_EQ(BytesOf(*there)[499], 48);
  std::unique_ptr<RemoteMapping> beyond;
  EXPECT_EQ(three.last->qp->MapRemote(at.address, at.rkey, 701, &beyond), -EACCES);
  EXPECT_EQ(three.last->qp->MapRemote(at.address - 1, at.rkey, 1, &beyond), -EACCES);
  Side& last = *three.last;
  MustPost(*last.qp, Read(*last.mr, {at.gid, at.qpNumber, at.rkey, at.address + 200, 500}, 500));
  ASSERT_EQ(TakeStatus(*last.cq), CompletionStatus::kSuccess);
  EXPECT_EQ(memcmp(last.bytes(), BytesOf(*there), 500), 0);
}

TEST(RemoteMapping, ThatIsHandedOnEndsWithItsKeyAndIsNotCopied) {
  Three three;
  std::unique_ptr<MemoryRegion> region = HandOn(*three.middle.pd, *three.mapping);
  const Endpoint at = three.middle.EndpointOf(*three.onward, *region);
  std::unique_ptr<RemoteMapping> there = Map(*three.last->qp, at);
  ASSERT_EQ(region->Deregister(), 0);
  std::unique_ptr<RemoteMapping> again;
  EXPECT_EQ(three.last->qp->MapRemote(at.address, at.rkey, 64, &again), -EACCES);
  static_cast<uint8_t*>(three.target->Address())[7] = 0x77;
  EXPECT_EQ(BytesOf(*three.mapping)[7], 0x77) << "the mapping shows its owner's pages still";
  EXPECT_EQ(BytesOf(*there)[7], 0x77);
  EXPECT_EQ(region->Close(), 0);
  EXPECT_EQ(BytesOf(*three.mapping)[8], 0x11);
}

TEST(RemoteMapping, MayBeClosedBeforeWhatWasRegisteredOverIt) {
  Three three;
  std::unique_ptr<MemoryRegion> region = HandOn(*three.middle.pd, *three.mapping);
  const Endpoint at = three.middle.EndpointOf(*three.onward, *region);
  ASSERT_EQ(three.target->Deregister(), 0);
  ASSERT_EQ(three.target->Close(), 0);
  ASSERT_EQ(three.mapping->Close(), 0);
  std::unique_ptr<MemoryRegion> refused;
  MemoryInit init;
  init.mapping = three.mapping.get();
  init.access = kShared;
  EXPECT_EQ(three.middle.pd->RegisterMemory(init, &refused), -EBADF);
  std::unique_ptr<RemoteMapping> there = Map(*three.last->qp, at);
  EXPECT_EQ(BytesOf(*there)[kBytes - 1], 0x11);
  uint32_t access = kLocalWrite;
  EXPECT_EQ(region->Reregister(&access, nullptr), -ENOTSUP);
  EXPECT_EQ(three.middle.pd->Close(), -EBUSY);
  EXPECT_EQ(region->Close(), 0);
}

}  // namespace
}  // namespace onepiece::test
