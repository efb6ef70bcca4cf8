// Invariant: see standing_peer.h.
#include "standing_peer.h"

#include <string.h>

#include "held_memory.h"

namespace onepiece::test {

namespace {

struct Order {
  Endpoint to;
  Standing how;
};

int Stand(Channel& channel) {
  HeldMemory source(kStandBytes, kStandAt);
  channel.Say(source.isHeld());
  if (!source.isHeld()) return 0;
  memset(source.bytes(), kStandPattern, kStandAt);
  memset(source.bytes() + kStandAt + 4096, kStandPattern, kStandBytes - kStandAt - 4096);
  Side side;
  std::unique_ptr<MemoryRegion> mr = side.Adopt(source.bytes(), kStandBytes, kLocalWrite);
  channel.Say(side.endpoint());
  Order order = channel.Hear<Order>();
  MustConnect(*side.qp, order.to);
  channel.Say(true);
  channel.Hear<bool>();
  MustPost(*side.qp, order.how == Standing::kWriting ? Write(*mr, order.to, kStandBytes) : Send(*mr, kStandBytes));
  source.AwaitVisitor();
  channel.Say(true);
  channel.Hear<bool>();
  source.Release();
  channel.Say(TakeStatus(*side.cq));
  channel.Hear<bool>();
  return 0;
}

}  // namespace

StandingPeer::StandingPeer() : child_(Stand), exists_(child_.channel().Hear<bool>()) {}

void StandingPeer::LetStandAfter(Side& side, QueuePair& qp, const MemoryRegion& mr, Standing how, uint32_t rkey,
                                 const std::function<void()>& prepare) {
  const Channel& channel = child_.channel();
  MustConnect(qp, channel.Hear<Endpoint>());
  if (how == Standing::kSending) MustPost(qp, ReceiveInto(mr, 0, kStandBytes));
  Order order{side.EndpointOf(qp, mr), how};
  order.to.rkey = rkey;
  channel.Say(order);
  channel.Hear<bool>();
  prepare();
  channel.Say(true);
  channel.Hear<bool>();
}

CompletionStatus StandingPeer::GoOn() {
  child_.Continue();
  child_.channel().Say(true);
  return child_.channel().Hear<CompletionStatus>();
}

}  // namespace onepiece::test
