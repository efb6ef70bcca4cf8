// Registered memory. Invariant: see memory_region.h.
#include "memory_region.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <linux/mman.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <new>

namespace onepiece::verbs {
namespace {

constexpr uint32_t kKnownAccess = kLocalWrite | kRemoteWrite | kRemoteRead | kRemoteAtomic | kMwBindAllowed |
                                  kZeroBased | kOnDemand | kRelaxedOrdering;
static_assert(uint32_t{kMwBindAllowed} == IBV_ACCESS_MW_BIND && uint32_t{kZeroBased} == IBV_ACCESS_ZERO_BASED &&
              uint32_t{kOnDemand} == IBV_ACCESS_ON_DEMAND && uint32_t{kRelaxedOrdering} == IBV_ACCESS_RELAXED_ORDERING);

// Registering pins every page. More than the machine has can only end in the kernel killing somebody.
bool FitsMachine(size_t bytes) {
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long pageBytes = sysconf(_SC_PAGESIZE);
  if (pages <= 0 || pageBytes <= 0) return true;
  return bytes / static_cast<size_t>(pageBytes) < static_cast<size_t>(pages);
}

// What fits the six bits that mmap has for it, and any machine.
bool IsPageSize(size_t bytes) { return std::has_single_bit(bytes) && bytes >= 1u << 16 && bytes <= size_t{1} << 34; }

// Zeroed pages, ordinary or huge, that a child of fork does not share copy-on-write: the parent would get the copies,
// the device the pages.
int AllocatePages(size_t bytes, size_t pageBytes, void** out) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
  if (pageBytes != 0) flags |= MAP_HUGETLB | std::countr_zero(pageBytes) << MAP_HUGE_SHIFT;
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (address == MAP_FAILED) return LastError();
  if (madvise(address, bytes, MADV_DONTFORK) != 0) {
    const int error = LastError();
    munmap(address, bytes);
    return error;
  }
  *out = address;
  return 0;
}

ibv_mr* RegisterPages(const Domain& domain, void* address, size_t bytes, uint32_t access) {
  const Library& library = domain.context->library;
  constexpr uint32_t kOptional = kRelaxedOrdering;
  const uint64_t iova = (access & kZeroBased) != 0 ? 0 : reinterpret_cast<uintptr_t>(address);
  if ((access & (kOptional | kZeroBased)) != 0 && library.reg_mr_iova2 != nullptr) {
    return library.reg_mr_iova2(domain.raw, address, bytes, iova, access & ~uint32_t{kZeroBased});
  }
  // An older library knows no optional flags, and they may be left out.
  return library.reg_mr(domain.raw, address, bytes, static_cast<int>(access & ~kOptional));
}

}  // namespace

int MemoryRegion::Register(const std::shared_ptr<Domain>& domain, const MemoryInit& init,
                           std::unique_ptr<onepiece::MemoryRegion>* out) {
  if ((init.access & kRemoteMap) != 0 || init.mapping != nullptr) return -ENOTSUP;
  if (init.bytes == 0 || (init.access & ~kKnownAccess) != 0) return -EINVAL;
  const uint32_t access = init.access;
  ibv_mr* raw = nullptr;
  void* address = init.address;
  size_t mapped = 0;
  errno = 0;
  if (init.dmabufFd >= 0) {
    if (domain->context->library.reg_dmabuf_mr == nullptr) return -ENOTSUP;
    raw = domain->context->library.reg_dmabuf_mr(domain->raw, init.offset, init.bytes, init.offset, init.dmabufFd,
                                                 static_cast<int>(access));
    if (raw == nullptr) return LastError();
  } else {
    if (address == nullptr) {
      if (init.pageBytes != 0 && !IsPageSize(init.pageBytes)) return -EINVAL;
      if ((access & kOnDemand) == 0 && !FitsMachine(init.bytes)) return -ENOMEM;
      const size_t unit = std::max<size_t>(init.pageBytes, 1);
      if (init.bytes > SIZE_MAX - unit) return -ENOMEM;
      mapped = (init.bytes + unit - 1) / unit * unit;
      const int error = AllocatePages(mapped, init.pageBytes, &address);
      if (error != 0) return error;
    }
    errno = 0;
    raw = RegisterPages(*domain, address, init.bytes, access);
    if (raw == nullptr) {
      const int error = LastError();
      if (mapped != 0) munmap(address, mapped);
      return error;
    }
  }
  auto* region = new (std::nothrow) MemoryRegion(domain, raw, init, address, mapped);
  if (region == nullptr) {
    if (domain->context->library.dereg_mr(raw) == 0 && mapped != 0) munmap(address, mapped);
    return -ENOMEM;
  }
  out->reset(region);
  return 0;
}

MemoryRegion::MemoryRegion(std::shared_ptr<Domain> domain, ibv_mr* raw, const MemoryInit& init, void* address,
                           size_t mapped)
    : domain_(std::move(domain)),
      raw_(raw),
      address_(address),
      bytes_(init.bytes),
      mapped_(mapped),
      access_(init.access),
      localKey_(raw->lkey),
      remoteKey_(raw->rkey) {
  Enter();
}

void MemoryRegion::Enter() {
  domain_->keys[localKey_] = raw_;
  if (address_ != nullptr) domain_->regions.emplace(reinterpret_cast<uintptr_t>(address_), bytes_);
}

void MemoryRegion::Leave() {
  domain_->keys.erase(localKey_);
  const auto [first, last] = domain_->regions.equal_range(reinterpret_cast<uintptr_t>(address_));
  const auto own = std::find_if(first, last, [this](const auto& entry) { return entry.second == bytes_; });
  if (own != last) domain_->regions.erase(own);
}

int MemoryRegion::Reregister(const uint32_t* access, onepiece::ProtectionDomain* domain) {
  if (raw_ == nullptr) return -EBADF;
  std::shared_ptr<Domain> to = domain_;
  int flags = 0;
  if (access != nullptr) {
    if ((*access & ~kKnownAccess) != 0) return -EINVAL;
    flags |= IBV_REREG_MR_CHANGE_ACCESS;
  }
  if (domain != nullptr) {
    ProtectionDomain* own = ProtectionDomain::Of(*domain_->context, domain);
    if (own == nullptr) return -EINVAL;
    to = own->Shared();
    flags |= IBV_REREG_MR_CHANGE_PD;
  }
  if (flags == 0) return -EINVAL;
  const uint32_t wanted = access != nullptr ? *access : access_;
  errno = 0;
  const int result = domain_->context->library.rereg_mr(raw_, flags, to->raw, address_, bytes_, static_cast<int>(wanted));
  // The result says how far it came, errno why; a driver without the call leaves EOPNOTSUPP or ENOSYS.
  if (result != 0) return errno == ENOSYS ? -ENOTSUP : LastError();
  Leave();
  domain_ = std::move(to);
  access_ = wanted;
  localKey_ = raw_->lkey;
  remoteKey_ = raw_->rkey;
  Enter();
  return 0;
}

int MemoryRegion::Raw(RawNumbers* out) {
  if (raw_ == nullptr) return -EBADF;
  *out = {reinterpret_cast<uintptr_t>(raw_), raw_->handle, -1, -1};
  return 0;
}

int MemoryRegion::Deregister() {
  if (raw_ == nullptr) return 0;
  const int error = Ask(domain_->context->library.dereg_mr, raw_);
  if (error != 0) return error;
  raw_ = nullptr;
  Leave();
  domain_.reset();
  return 0;
}

int MemoryRegion::Close() {
  const int error = Deregister();
  if (error != 0) return error;
  if (mapped_ != 0) munmap(address_, mapped_);
  address_ = nullptr;
  mapped_ = 0;
  bytes_ = 0;
  return 0;
}

}  // namespace onepiece::verbs

#endif
