// Shared receive queue of the soft device. Invariant: see shared_receives.h.
#pragma once

#include "protection_domain.h"
#include "shared_receives.h"

namespace onepiece::soft {

class SharedReceiveQueue final : public onepiece::SharedReceiveQueue {
 public:
  static int Create(ProtectionDomain& pd, const SrqAttributes& wanted,
                    std::unique_ptr<onepiece::SharedReceiveQueue>* out);
  // The queue of this device at this address, or nullptr: it is another device's.
  static SharedReceiveQueue* Of(const Context& context, const onepiece::SharedReceiveQueue* queue);
  ~SharedReceiveQueue() override { Close(); }
  uint32_t Number() const override { return number_; }
  SrqAttributes Granted() const override { return granted_; }
  int PostReceive(const ReceiveRecord* records, int count, int* taken) override;
  // The limit; a new size is refused with -ENOTSUP.
  int Modify(const uint32_t* maxWr, const uint32_t* limit) override;
  int Query(SrqAttributes* out) override;
  int Close() override;

  const std::shared_ptr<SharedReceives>& receives() const { return receives_; }
  // Wakes the peers that sleep for a receive.
  void WakeWaiting();

 private:
  SharedReceiveQueue(ProtectionDomain& pd, const SrqAttributes& granted) : pd_(pd), granted_(granted) {}

  ProtectionDomain& pd_;
  SrqAttributes granted_;
  std::shared_ptr<SharedReceives> receives_;
  uint32_t number_ = 0;
  bool closed_ = true;
};

}  // namespace onepiece::soft
