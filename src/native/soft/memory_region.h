// Memory region of the soft device: a sealed memfd that peers of the same user map, or memory of the caller's own,
// which peers reach through /proc/PID/mem.
//
// Invariant (revocation is final): when Deregister() has answered 0, the key was cleared first and then every engine
// that could have read it before was seen outside. An engine publishes the key that it is going to use (`QpSlot::busy`)
// *before* it reads it in the slot, both sequentially consistent, so either it sees the cleared key or the owner sees
// it inside. A system call that copies lies between the same two stores, so this holds for the caller's own memory too.
// When a peer is stopped inside, the answer is -EBUSY and the slot stays quarantined: a time-out is never a
// proof. Other regions are not touched by that.
//
// Pages that peers were allowed to map (kRemoteMap) may be stored into at any time: Deregister() gives the owner pages
// of its own in their place, at the same address, before it answers 0.
//
// Pages of a peer (MemoryInit::mapping) are handed on: others map them as this process has. They are the peer's, and
// whoever has mapped them may store there: revoking ends access by the key, and never copies.
//
// A memfd may be closed without proof: whoever is inside writes to pages that nobody sees. The caller's own memory may
// not, as it will be something else tomorrow: Close() answers -EBUSY, and the destructor waits.
#pragma once


#include "peer.h"
#include "protection_domain.h"

namespace onepiece::soft {

class MemoryRegion final : public onepiece::MemoryRegion {
 public:
  static int Create(ProtectionDomain& pd, const MemoryInit& init, std::unique_ptr<onepiece::MemoryRegion>* out);
  ~MemoryRegion() override;
  void* Address() const override { return base_; }
  size_t Length() const override { return length_; }
  uint32_t LocalKey() const override { return key_; }
  uint32_t RemoteKey() const override { return key_; }
  // The keys stay. -EBUSY as from Deregister(): the region is revoked then, and this call too may be made again.
  int Reregister(const uint32_t* access, onepiece::ProtectionDomain* domain) override;
  int Deregister() override;
  int Close() override;
  int Pages(int* fd, uint64_t* offset) const override;

 private:
  explicit MemoryRegion(ProtectionDomain& pd) : pd_(&pd) { pd_->children++; }

  int Allocate(size_t bytes, size_t pageBytes, MrSlot* slot);
  int Adopt(const MemoryInit& init, MrSlot* slot);
  int HandOn(const MemoryInit& init, MrSlot* slot);
  // Clears the key; 0 when nobody is inside any more.
  int Revoke();
  // The same, and the key is not this region's any more.
  int Unregister();
  int Detach();

  ProtectionDomain* pd_;
  uint8_t* base_ = nullptr;
  size_t length_ = 0;
  size_t mapped_ = 0;
  int fd_ = -1;
  bool adopted_ = false;
  bool registered_ = false;
  bool mappable_ = false;  // peers may have mapped pages that are our own
  std::shared_ptr<Mapping> pages_;  // of a peer, which are handed on
  uint32_t key_ = 0;
  bool closed_ = false;
};

}  // namespace onepiece::soft
