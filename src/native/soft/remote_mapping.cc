// Invariant: see remote_mapping.h.
#include "remote_mapping.h"

#include <errno.h>

#include "queue_pair.h"

namespace onepiece::soft {

// No engine is needed: mapping touches no memory of the peer, and an owner that revokes the region meanwhile is
// detached from the pages. On the thread of JavaScript, as are changes of the state.
int QueuePair::MapRemote(uint64_t address, uint32_t rkey, uint64_t length,
                         std::unique_ptr<onepiece::RemoteMapping>* out) {
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
  if (mr.fd == kProcessMemory) return -ENOTSUP;
  if (address < mr.address || length > mr.length || address - mr.address > mr.length - length) return -EACCES;
  uint64_t offset = address - mr.address;
  if (offset + mr.offset < offset) return -EACCES;
  offset += mr.offset;
  std::shared_ptr<Mapping> pages;
  int rc = peer_->MapToKeep(mr, &pages);
  if (rc != 0) return peer_->IsEnding() ? -ESRCH : rc;
  uint8_t* base = nullptr;
  rc = pages->At(offset, length, &base);
  if (rc != 0) return rc;
  out->reset(new (std::nothrow) RemoteMapping(std::move(pages), base, length));
  return *out ? 0 : -ENOMEM;
}

}  // namespace onepiece::soft
