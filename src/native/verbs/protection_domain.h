// A protection domain.
//
// Invariant: the ibv_pd is given back exactly once, and never before the last region or queue pair in it. The domain
// knows where its registered memory lies, so that what a driver copies in this process (inline data) can be checked
// before it is touched.
#pragma once

#include "library.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <map>
#include <memory>
#include <utility>

#include "device.h"

namespace onepiece::verbs {

struct Domain {
  Domain(std::shared_ptr<Context> c, ibv_pd* r) : context(std::move(c)), raw(r) {}
  ~Domain();
  Domain(const Domain&) = delete;
  Domain& operator=(const Domain&) = delete;

  // Whether all of [address, address + length) is registered memory of this domain.
  bool Holds(uint64_t address, uint64_t length) const;

  const std::shared_ptr<Context> context;
  ibv_pd* raw;
  std::map<uint64_t, uint64_t> regions;  // where each begins: how long it is
};

class ProtectionDomain final : public onepiece::ProtectionDomain {
 public:
  static int Allocate(const std::shared_ptr<Context>& context, std::unique_ptr<onepiece::ProtectionDomain>* out);

  explicit ProtectionDomain(std::shared_ptr<Domain> domain) : domain_(std::move(domain)) {}

  int RegisterMemory(size_t bytes, uint32_t access, std::unique_ptr<onepiece::MemoryRegion>* out) override;
  int CreateQp(const QpInit& init, std::unique_ptr<onepiece::QueuePair>* out) override;
  int Close() override;

 private:
  std::shared_ptr<Domain> domain_;  // null after Close
};

}  // namespace onepiece::verbs

#endif
