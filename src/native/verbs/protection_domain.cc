// Protection domains. Invariant: see protection_domain.h.
#include "protection_domain.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <new>

#include "address_handle.h"
#include "memory_region.h"
#include "memory_window.h"
#include "queue_pair.h"
#include "shared_receive_queue.h"

namespace onepiece::verbs {

Domain::~Domain() {
  if (raw != nullptr) context->library.dealloc_pd(raw);
}

bool Domain::Holds(uint64_t address, uint64_t length) const {
  // Nearly always the nearest one below; regions may overlap.
  for (auto at = regions.upper_bound(address); at != regions.begin();) {
    const auto& [start, bytes] = *--at;
    const uint64_t offset = address - start;
    if (offset <= bytes && length <= bytes - offset) return true;
  }
  return false;
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

ProtectionDomain::ProtectionDomain(std::shared_ptr<Domain> domain) : domain_(std::move(domain)) {
  domain_->context->domains.push_back(this);
}

void ProtectionDomain::Forget() {
  if (!domain_) return;
  std::erase(domain_->context->domains, this);
  domain_.reset();
}

ProtectionDomain* ProtectionDomain::Of(const Context& context, onepiece::ProtectionDomain* domain) {
  for (ProtectionDomain* own : context.domains) {
    if (own == domain) return own;
  }
  return nullptr;
}

int ProtectionDomain::RegisterMemory(const MemoryInit& init, std::unique_ptr<onepiece::MemoryRegion>* out) {
  if (!domain_) return -EBADF;
  return MemoryRegion::Register(domain_, init, out);
}

int ProtectionDomain::AllocateWindow(std::unique_ptr<onepiece::MemoryWindow>* out) {
  if (!domain_) return -EBADF;
  return MemoryWindow::Allocate(domain_, out);
}

int ProtectionDomain::CreateAh(const AddressVector& path, std::unique_ptr<onepiece::AddressHandle>* out) {
  if (!domain_) return -EBADF;
  return AddressHandle::Create(domain_, path, out);
}

int ProtectionDomain::CreateSrq(const SrqAttributes& wanted, std::unique_ptr<onepiece::SharedReceiveQueue>* out) {
  if (!domain_) return -EBADF;
  return SharedReceiveQueue::Create(domain_, wanted, out);
}

int ProtectionDomain::Raw(RawNumbers* out) {
  if (!domain_) return -EBADF;
  *out = {reinterpret_cast<uintptr_t>(domain_->raw), domain_->raw->handle, -1, -1};
  return 0;
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
  Forget();
  return 0;
}

}  // namespace onepiece::verbs

#endif
