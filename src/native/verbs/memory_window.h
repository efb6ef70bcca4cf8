// A memory window of type 2: a part of a memory region that peers can reach by a key of its own, given and taken back
// by work requests (BIND_MW, LOCAL_INV, a peer's SEND_WITH_INV).
//
// Invariant: a work request names a window by its number; one that is gone, or belongs to another protection domain, is
// refused before the driver sees it.
#pragma once

#include "library.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <memory>
#include <utility>

#include "protection_domain.h"

namespace onepiece::verbs {

class MemoryWindow final : public onepiece::MemoryWindow {
 public:
  static int Allocate(const std::shared_ptr<Domain>& domain, std::unique_ptr<onepiece::MemoryWindow>* out);

  MemoryWindow(std::shared_ptr<Domain> domain, ibv_mw* raw, uint32_t number)
      : domain_(std::move(domain)), raw_(raw), number_(number) {}
  ~MemoryWindow() override { MemoryWindow::Close(); }

  uint32_t Number() const override { return number_; }
  uint32_t RemoteKey() const override { return domain_ ? raw_->rkey : 0; }
  int Raw(RawNumbers* out) override;
  int Close() override;

 private:
  std::shared_ptr<Domain> domain_;  // null after Close
  ibv_mw* raw_;
  const uint32_t number_;
};

}  // namespace onepiece::verbs

#endif
