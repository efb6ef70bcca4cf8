// The objects of the connection manager that JavaScript has handles of. Invariant: see environment.h.
#pragma once

#include "../cm.h"
#include "environment.h"

namespace onepiece::addon {

struct CmChannelObject final : Holder<CmChannel, Kind::kCmChannel> {
  int Close() override {
    if (channel->HasIds()) return -EBUSY;
    watch.Stop();  // libuv must let go of the descriptor before it is closed
    return channel->Close();
  }
  int Raw(RawNumbers* out) override { return channel->Raw(out); }
  Watch* Watching() override { return &watch; }
  std::unique_ptr<CmChannel> channel;
  Watch watch;
};

struct CmIdObject final : Holder<CmId, Kind::kCmId> {
  int Close() override { return id->Close(); }
  int Raw(RawNumbers* out) override { return id->Raw(out); }
  std::unique_ptr<CmId> id;
};

}  // namespace onepiece::addon
