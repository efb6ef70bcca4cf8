// Memory window (type 2) of the soft device. Invariant: see window_table.h.
#pragma once

#include "protection_domain.h"

namespace onepiece::soft {

class MemoryWindow final : public onepiece::MemoryWindow {
 public:
  static int Allocate(ProtectionDomain& pd, std::unique_ptr<onepiece::MemoryWindow>* out);
  ~MemoryWindow() override;
  uint32_t Number() const override { return MrIndex(key_); }
  uint32_t RemoteKey() const override { return key_; }
  // -EBUSY: a peer is in the middle of a copy through it.
  int Close() override;

 private:
  explicit MemoryWindow(ProtectionDomain& pd) : pd_(pd) { pd_.children++; }

  ProtectionDomain& pd_;
  uint32_t key_ = 0;
  bool closed_ = false;
};

}  // namespace onepiece::soft
