// An address handle: where a datagram goes. And the translation of address vectors, which queue pairs share.
//
// Invariant: a work request names an address handle by its number; one that is gone, or belongs to another protection
// domain, is refused before the driver sees it.
#pragma once

#include "library.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <memory>
#include <utility>

#include "protection_domain.h"

namespace onepiece::verbs {

// False when a field does not fit.
bool ToAhAttr(const AddressVector& from, uint8_t port, ibv_ah_attr* out);

class AddressHandle final : public onepiece::AddressHandle {
 public:
  static int Create(const std::shared_ptr<Domain>& domain, const AddressVector& path,
                    std::unique_ptr<onepiece::AddressHandle>* out);

  AddressHandle(std::shared_ptr<Domain> domain, ibv_ah* raw, uint32_t number)
      : domain_(std::move(domain)), raw_(raw), number_(number) {}
  ~AddressHandle() override { AddressHandle::Close(); }

  uint32_t Number() const override { return number_; }
  int Raw(RawNumbers* out) override;
  int Close() override;

 private:
  std::shared_ptr<Domain> domain_;  // null after Close
  ibv_ah* raw_;
  const uint32_t number_;
};

}  // namespace onepiece::verbs

#endif
