// Memory region of the soft device: a sealed memfd that peers of the same user map.
//
// Invariant (revocation is final): when Deregister() has answered 0, the key was cleared first and then every engine
// that could have read it before was seen outside. An engine publishes that it is inside (`QpSlot::busy`) *before* it
// reads the key, both sequentially consistent, so either it sees the cleared key or the owner sees it inside. When a
// peer is stopped inside, the answer is -EBUSY and the slot stays quarantined: no time-out ever stands for proof.
#pragma once

#include "protection_domain.h"

namespace onepiece::soft {

class MemoryRegion final : public onepiece::MemoryRegion {
 public:
  static int Create(ProtectionDomain& pd, size_t bytes, uint32_t access, std::unique_ptr<onepiece::MemoryRegion>* out);
  ~MemoryRegion() override { Close(); }
  void* Address() const override { return base_; }
  size_t Length() const override { return length_; }
  uint32_t LocalKey() const override { return key_; }
  uint32_t RemoteKey() const override { return key_; }
  int Deregister() override;
  int Close() override;

 private:
  explicit MemoryRegion(ProtectionDomain& pd) : pd_(pd) { pd_.children++; }

  ProtectionDomain& pd_;
  uint8_t* base_ = nullptr;
  size_t length_ = 0;
  size_t mapped_ = 0;
  int fd_ = -1;
  uint32_t index_ = 0;  // 0: no slot, or given back
  uint32_t key_ = 0;
  bool closed_ = false;
};

}  // namespace onepiece::soft
