// Protection domain of the soft device.
//
// Invariant: a number that regions and queue pairs carry; a peer's access through a queue pair reaches only regions
// with the same number. Numbers are never used twice in a device.
#pragma once

#include "context.h"

namespace onepiece::soft {

class ProtectionDomain final : public onepiece::ProtectionDomain {
 public:
  ProtectionDomain(Context& context, uint32_t number) : context_(context), number_(number) {
    context_.children++;
    context_.domains.push_back(this);
  }
  // The domain of this device at this address, or nullptr: it is another device's.
  static ProtectionDomain* Of(const Context& context, const onepiece::ProtectionDomain* domain);
  ~ProtectionDomain() override;
  int RegisterMemory(const MemoryInit& init, std::unique_ptr<onepiece::MemoryRegion>* out) override;
  int AllocateWindow(std::unique_ptr<onepiece::MemoryWindow>* out) override;
  int CreateAh(const AddressVector& path, std::unique_ptr<onepiece::AddressHandle>* out) override;
  int CreateSrq(const SrqAttributes& wanted, std::unique_ptr<onepiece::SharedReceiveQueue>* out) override;
  int CreateQp(const QpInit& init, std::unique_ptr<onepiece::QueuePair>* out) override;
  int Close() override;

  Context& context() const { return context_; }
  uint32_t number() const { return number_; }
  // The memory of this process that `sge` names, from what the process knows itself, as peers can write into the
  // directory; nullptr: its key or its bounds are wrong, or it may not be written. Any thread.
  uint8_t* LocalMemory(const SgeRecord& sge, bool write) const;
  int children = 0;

 private:
  Context& context_;
  uint32_t number_;
  bool closed_ = false;
};

}  // namespace onepiece::soft
