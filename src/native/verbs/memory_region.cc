// Registered memory. Invariant: see memory_region.h.
#include "memory_region.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <sys/mman.h>
#include <unistd.h>

#include <new>

namespace onepiece::verbs {
namespace {

constexpr uint32_t kKnownAccess = kLocalWrite | kRemoteWrite | kRemoteRead | kRemoteAtomic;

// Registering pins every page. More than the machine has can only end in the kernel killing somebody.
bool FitsMachine(size_t bytes) {
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long pageBytes = sysconf(_SC_PAGESIZE);
  if (pages <= 0 || pageBytes <= 0) return true;
  return bytes / static_cast<size_t>(pageBytes) < static_cast<size_t>(pages);
}

}  // namespace

int MemoryRegion::Register(const std::shared_ptr<Domain>& domain, size_t bytes, uint32_t access,
                           std::unique_ptr<onepiece::MemoryRegion>* out) {
  if (bytes == 0 || (access & ~kKnownAccess) != 0) return -EINVAL;
  if (!FitsMachine(bytes)) return -ENOMEM;
  if ((access & (kRemoteWrite | kRemoteAtomic)) != 0) access |= kLocalWrite;  // verbs demands it

  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) return LastError();
  int error = 0;
  errno = 0;
  ibv_mr* raw = nullptr;
  // A child of fork must not share these pages copy-on-write: the parent would get the copies, the device the pages.
  if (madvise(address, bytes, MADV_DONTFORK) != 0) {
    error = LastError();
  } else {
    raw = domain->context->library.reg_mr(domain->raw, address, bytes, static_cast<int>(access));
    if (raw == nullptr) error = LastError();
  }
  if (error != 0) {
    munmap(address, bytes);
    return error;
  }
  auto* region = new (std::nothrow) MemoryRegion(domain, raw, address, bytes);
  if (region == nullptr) {
    if (domain->context->library.dereg_mr(raw) == 0) munmap(address, bytes);
    return -ENOMEM;
  }
  out->reset(region);
  return 0;
}

MemoryRegion::MemoryRegion(std::shared_ptr<Domain> domain, ibv_mr* raw, void* address, size_t bytes)
    : domain_(std::move(domain)),
      raw_(raw),
      address_(address),
      bytes_(bytes),
      localKey_(raw->lkey),
      remoteKey_(raw->rkey) {
  domain_->regions.emplace(reinterpret_cast<uintptr_t>(address), bytes);
}

int MemoryRegion::Deregister() {
  if (raw_ == nullptr) return 0;
  const int error = Ask(domain_->context->library.dereg_mr, raw_);
  if (error != 0) return error;
  raw_ = nullptr;
  domain_->regions.erase(reinterpret_cast<uintptr_t>(address_));
  domain_.reset();
  return 0;
}

int MemoryRegion::Close() {
  if (address_ == nullptr) return 0;
  const int error = Deregister();
  if (error != 0) return error;
  munmap(address_, bytes_);
  address_ = nullptr;
  return 0;
}

}  // namespace onepiece::verbs

#endif
