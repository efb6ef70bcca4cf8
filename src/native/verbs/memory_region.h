// Registered memory, which this object also allocates.
//
// Invariant: the pages are unmapped only after ibv_dereg_mr has answered 0; if it never does, they stay mapped for
// the life of the process, so that a device cannot write into memory that has become somebody else's.
#pragma once

#include "library.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <memory>
#include <utility>

#include "protection_domain.h"

namespace onepiece::verbs {

class MemoryRegion final : public onepiece::MemoryRegion {
 public:
  static int Register(const std::shared_ptr<Domain>& domain, size_t bytes, uint32_t access,
                      std::unique_ptr<onepiece::MemoryRegion>* out);

  MemoryRegion(std::shared_ptr<Domain> domain, ibv_mr* raw, void* address, size_t bytes);
  ~MemoryRegion() override { MemoryRegion::Close(); }

  void* Address() const override { return address_; }
  size_t Length() const override { return address_ != nullptr ? bytes_ : 0; }
  uint32_t LocalKey() const override { return localKey_; }
  uint32_t RemoteKey() const override { return remoteKey_; }
  int Deregister() override;
  int Close() override;

 private:
  std::shared_ptr<Domain> domain_;  // null once deregistered
  ibv_mr* raw_;
  void* address_;  // null once unmapped
  const size_t bytes_;
  const uint32_t localKey_;
  const uint32_t remoteKey_;
};

}  // namespace onepiece::verbs

#endif
