// Registered memory: allocated by this object, or a caller's that outlives it, or a dma-buf of another device.
//
// Invariant: pages that were allocated here are unmapped only after ibv_dereg_mr has answered 0; if it never does, they
// stay mapped for the life of the process, so that a device cannot write into memory that has become somebody else's.
#pragma once

#include "library.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <memory>
#include <utility>

#include "protection_domain.h"

namespace onepiece::verbs {

class MemoryRegion final : public onepiece::MemoryRegion {
 public:
  static int Register(const std::shared_ptr<Domain>& domain, const MemoryInit& init,
                      std::unique_ptr<onepiece::MemoryRegion>* out);

  MemoryRegion(std::shared_ptr<Domain> domain, ibv_mr* raw, const MemoryInit& init, void* address, size_t mapped);
  ~MemoryRegion() override { MemoryRegion::Close(); }

  void* Address() const override { return address_; }
  size_t Length() const override { return bytes_; }
  uint32_t LocalKey() const override { return localKey_; }
  uint32_t RemoteKey() const override { return remoteKey_; }
  int Reregister(const uint32_t* access, onepiece::ProtectionDomain* domain) override;
  int Raw(RawNumbers* out) override;
  int Deregister() override;
  int Close() override;

 private:
  void Enter();
  void Leave();

  std::shared_ptr<Domain> domain_;  // null once deregistered
  ibv_mr* raw_;
  void* address_;  // null once unmapped, and of a dma-buf
  size_t bytes_;   // 0 once unmapped
  size_t mapped_;  // 0: not our pages
  uint32_t access_;
  uint32_t localKey_;
  uint32_t remoteKey_;
};

}  // namespace onepiece::verbs

#endif
