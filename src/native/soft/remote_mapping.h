// Pages of a peer's region, mapped for its program.
//
// Invariant: the mapping lives as long as this object or a region that was registered over it, whatever becomes of the
// region, the queue pair and the peer; that the peer does not see later stores is the peer's work (memory_region.h).
#pragma once

#include <memory>

#include "peer.h"

namespace onepiece::soft {

class RemoteMapping final : public onepiece::RemoteMapping {
 public:
  RemoteMapping(std::shared_ptr<Mapping> pages, uint8_t* base, size_t length)
      : pages_(std::move(pages)), base_(base), length_(length) {}
  void* Address() const override { return base_; }
  size_t Length() const override { return length_; }
  int Pages(int* fd, uint64_t* offset) const override {
    if (!pages_ || pages_->fd() < 0) return -ENOTSUP;
    *fd = pages_->fd();
    *offset = pages_->OffsetOf(base_);
    return 0;
  }
  int Close() override {
    pages_.reset();
    return 0;
  }
  // The pages in which it lies; nullptr after Close().
  const std::shared_ptr<Mapping>& pages() const { return pages_; }

 private:
  std::shared_ptr<Mapping> pages_;
  uint8_t* base_;
  size_t length_;
};

}  // namespace onepiece::soft
