// Address handle of the soft device: another opened device, to which datagrams can be sent.
// Invariant: it holds the peer's directory mapped; whether the peer still lives is asked with each datagram.
#pragma once

#include "protection_domain.h"

namespace onepiece::soft {

constexpr uint32_t kMaxAhs = 1u << 16;

class AddressHandle final : public onepiece::AddressHandle {
 public:
  static int Create(ProtectionDomain& pd, const AddressVector& path, std::unique_ptr<onepiece::AddressHandle>* out);
  ~AddressHandle() override { Close(); }
  uint32_t Number() const override { return number_; }
  int Close() override;

  const ProtectionDomain& pd() const { return pd_; }
  const std::shared_ptr<Peer>& peer() const { return peer_; }

 private:
  explicit AddressHandle(ProtectionDomain& pd) : pd_(pd) { pd_.children++; }

  ProtectionDomain& pd_;
  std::shared_ptr<Peer> peer_;
  uint32_t number_ = 0;
  bool closed_ = false;
};

}  // namespace onepiece::soft
