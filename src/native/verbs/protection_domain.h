// A protection domain.
//
// Invariant: the ibv_pd is given back exactly once, and never before the last region or queue pair in it. The domain
// knows where its registered memory lies, so that what a driver copies in this process (inline data) can be checked
// before it is touched.
#pragma once

#include "library.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <deque>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "device.h"

namespace onepiece::verbs {

// Objects by a number that is never 0 and not soon used again.
template <typename T>
class Slots {
 public:
  uint32_t Add(T* object) {
    uint32_t index;
    if (free_.empty()) {
      index = static_cast<uint32_t>(slots_.size());
      if (index > kIndexMask) return 0;
      slots_.push_back({});
    } else {
      index = free_.front();
      free_.pop_front();
    }
    slots_[index].object = object;
    slots_[index].generation = slots_[index].generation % 0xfff + 1;
    return slots_[index].generation << kIndexBits | index;
  }
  T* Get(uint32_t number) const {
    const uint32_t index = number & kIndexMask;
    if (index >= slots_.size() || slots_[index].generation != number >> kIndexBits) return nullptr;
    return slots_[index].object;
  }
  void Remove(uint32_t number) {
    if (Get(number) == nullptr) return;
    slots_[number & kIndexMask].object = nullptr;
    free_.push_back(number & kIndexMask);
  }

 private:
  static constexpr uint32_t kIndexBits = 20;
  static constexpr uint32_t kIndexMask = (1u << kIndexBits) - 1;
  struct Slot {
    T* object = nullptr;
    uint32_t generation = 0;
  };
  std::vector<Slot> slots_;
  std::deque<uint32_t> free_;
};

struct Domain {
  Domain(std::shared_ptr<Context> c, ibv_pd* r) : context(std::move(c)), raw(r) {}
  ~Domain();
  Domain(const Domain&) = delete;
  Domain& operator=(const Domain&) = delete;

  // Whether all of [address, address + length) is registered memory of this domain.
  bool Holds(uint64_t address, uint64_t length) const;

  const std::shared_ptr<Context> context;
  ibv_pd* raw;
  std::multimap<uint64_t, uint64_t> regions;  // where each begins: how long it is
  std::unordered_map<uint32_t, ibv_mr*> keys;   // by local key
  Slots<ibv_ah> handles;
  Slots<ibv_mw> windows;
};

class ProtectionDomain final : public onepiece::ProtectionDomain {
 public:
  static int Allocate(const std::shared_ptr<Context>& context, std::unique_ptr<onepiece::ProtectionDomain>* out);

  explicit ProtectionDomain(std::shared_ptr<Domain> domain);
  ~ProtectionDomain() override { Forget(); }

  // The domain of this device at this address, or nullptr: it is another device's.
  static ProtectionDomain* Of(const Context& context, onepiece::ProtectionDomain* domain);

  int RegisterMemory(const MemoryInit& init, std::unique_ptr<onepiece::MemoryRegion>* out) override;
  int AllocateWindow(std::unique_ptr<onepiece::MemoryWindow>* out) override;
  int CreateAh(const AddressVector& path, std::unique_ptr<onepiece::AddressHandle>* out) override;
  int CreateSrq(const SrqAttributes& wanted, std::unique_ptr<onepiece::SharedReceiveQueue>* out) override;
  int Raw(RawNumbers* out) override;
  int CreateQp(const QpInit& init, std::unique_ptr<onepiece::QueuePair>* out) override;
  int Close() override;

  const std::shared_ptr<Domain>& Shared() const { return domain_; }

 private:
  void Forget();

  std::shared_ptr<Domain> domain_;  // null after Close
};

}  // namespace onepiece::verbs

#endif
