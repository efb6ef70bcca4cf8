// A shared receive queue.
//
// Invariant: its domain outlives it, and it outlives every queue pair that receives from it (they share
// SharedReceives). What reaches the driver is well formed. Posting allocates nothing.
#pragma once

#include "library.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <memory>
#include <utility>

#include "protection_domain.h"
#include "work_chain.h"

namespace onepiece::verbs {

struct SharedReceives {
  SharedReceives(std::shared_ptr<Domain> d, ibv_srq* r) : domain(std::move(d)), raw(r) {}
  ~SharedReceives();
  SharedReceives(const SharedReceives&) = delete;
  SharedReceives& operator=(const SharedReceives&) = delete;

  const std::shared_ptr<Domain> domain;
  ibv_srq* raw;
};

class SharedReceiveQueue final : public onepiece::SharedReceiveQueue {
 public:
  static int Create(const std::shared_ptr<Domain>& domain, const SrqAttributes& wanted,
                    std::unique_ptr<onepiece::SharedReceiveQueue>* out);
  // The queue of this device at this address, or nullptr: it is another device's.
  static SharedReceiveQueue* Of(const Context& context, const onepiece::SharedReceiveQueue* queue);

  SharedReceiveQueue(std::shared_ptr<SharedReceives> receives, const SrqAttributes& granted);
  ~SharedReceiveQueue() override { Forget(); }

  uint32_t Number() const override { return number_; }
  SrqAttributes Granted() const override { return granted_; }
  int PostReceive(const ReceiveRecord* records, int count, int* taken) override;
  int Modify(const uint32_t* maxWr, const uint32_t* limit) override;
  int Query(SrqAttributes* out) override;
  int Raw(RawNumbers* out) override;
  int Close() override;

  const std::shared_ptr<SharedReceives>& Shared() const { return receives_; }

 private:
  void Forget();

  std::shared_ptr<SharedReceives> receives_;  // null after Close; queue pairs share it
  const SrqAttributes granted_;
  const uint32_t number_;
  ReceiveChain chain_;
};

}  // namespace onepiece::verbs

#endif
