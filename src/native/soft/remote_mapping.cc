// Pages of a peer's region, mapped for its program. Invariant: the mapping lives as long as this object, whatever becomes of
// region, queue pair and peer; that its owner does not see later stores is the owner's work (memory_region.h).
#include <errno.h>

#include "queue_pair.h"

namespace onepiece::soft {

namespace {

class MappedRegion final : public RemoteMapping {
 public:
  MappedRegion(std::shared_ptr<Mapping> pages, uint8_t* base, size_t length)
      : pages_(std::move(pages)), base_(base), length_(length) {}
  void* Address() const override { return base_; }
  size_t Length() const override { return length_; }
  int Close() override {
    pages_.reset();
    return 0;
  }

 private:
  std::shared_ptr<Mapping> pages_;
  uint8_t* base_;
  size_t length_;
};

}  // namespace

// No engine is needed: mapping touches no memory of the peer, and an owner that revokes the region meanwhile is detached
// from the pages. On the thread of JavaScript, as are changes of the state.
int QueuePair::MapRemote(uint64_t address, uint32_t rkey, uint64_t length, std::unique_ptr<RemoteMapping>* out) {
  if (length == 0) return -EINVAL;
  if (!IsReliable() || state() != QpState::kReadyToSend) return -EINVAL;
  if (peer_->CheckDead()) return -ESRCH;
  const Directory& directory = peer_->directory();
  const QpSlot& target = directory.qp(QpIndex(attributes_.destQpNum));
  const MrSlot& slot = directory.mr(MrIndex(rkey));
  if (!IsTarget(target)) return -ENOTCONN;
  if (rkey == 0 || slot.key.load() != rkey) return -EACCES;
  const MrView mr(slot);
  constexpr uint32_t kNeeded = kRemoteMap | kRemoteWrite;
  if (mr.pd != ReadOnce(target.pd) || (mr.access & kNeeded) != kNeeded || mr.boundQp != 0) return -EACCES;
  if (mr.fd == kProcessMemory || mr.offset != 0) return -ENOTSUP;
  if (address < mr.address || length > mr.length || address - mr.address > mr.length - length) return -EACCES;
  std::shared_ptr<Mapping> pages;
  int rc = peer_->Map(mr, &pages);
  if (rc != 0) return peer_->IsEnding() ? -ESRCH : rc;
  uint8_t* base = nullptr;
  rc = pages->At(address - mr.address, length, &base);
  if (rc != 0) return rc;
  out->reset(new (std::nothrow) MappedRegion(std::move(pages), base, length));
  return *out ? 0 : -ENOMEM;
}

}  // namespace onepiece::soft
