// Protection domains. Invariant: see protection_domain.h.
#include "protection_domain.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <iterator>
#include <new>

#include "memory_region.h"
#include "queue_pair.h"

namespace onepiece::verbs {

Domain::~Domain() {
  if (raw != nullptr) context->library.dealloc_pd(raw);
}

bool Domain::Holds(uint64_t address, uint64_t length) const {
  const auto after = regions.upper_bound(address);
  if (after == regions.begin()) return false;
  const auto& [start, bytes] = *std::prev(after);
  const uint64_t offset = address - start;
  return offset <= bytes && length <= bytes - offset;
}

int ProtectionDomain::Allocate(const std::shared_ptr<Context>& context,
                               std::unique_ptr<onepiece::ProtectionDomain>* out) {
  errno = 0;
  ibv_pd* raw = context->library.alloc_pd(context->raw);
  if (raw == nullptr) return LastError();
  auto domain = std::make_shared<Domain>(context, raw);
  out->reset(new (std::nothrow) ProtectionDomain(std::move(domain)));
  return *out ? 0 : -ENOMEM;
}

int ProtectionDomain::RegisterMemory(size_t bytes, uint32_t access, std::unique_ptr<onepiece::MemoryRegion>* out) {
  if (!domain_) return -EBADF;
  return MemoryRegion::Register(domain_, bytes, access, out);
}

int ProtectionDomain::CreateQp(const QpInit& init, std::unique_ptr<onepiece::QueuePair>* out) {
  if (!domain_) return -EBADF;
  return QueuePair::Create(domain_, init, out);
}

int ProtectionDomain::Close() {
  if (!domain_) return 0;
  if (domain_.use_count() > 1) return -EBUSY;
  const int error = Ask(domain_->context->library.dealloc_pd, domain_->raw);
  if (error != 0) return error;
  domain_->raw = nullptr;
  domain_.reset();
  return 0;
}

}  // namespace onepiece::verbs

#endif
