// Invariant: see memory_region.h.
#include "memory_region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <bit>

#include "remote_mapping.h"

namespace onepiece::soft {

namespace {

// Ordering is never relaxed here, which the flag allows.
constexpr uint32_t kKnownAccess =
    kLocalWrite | kRemoteWrite | kRemoteRead | kRemoteAtomic | kMwBindAllowed | kRelaxedOrdering | kRemoteMap;
constexpr uint32_t kRevokeWaitMs = 50;
constexpr size_t kCheckBytes = size_t{64} << 20;

// Registered memory is real memory. What the machine does not have is refused here, instead of by the kernel's
// out-of-memory killer in the middle of a copy.
bool FitsInMemory(size_t bytes) {
  if (bytes < kCheckBytes) return true;
  FILE* file = fopen("/proc/meminfo", "re");
  if (file == nullptr) return true;
  char line[128];
  unsigned long long availableKib = 0;
  bool known = false;
  while (!known && fgets(line, sizeof line, file) != nullptr) {
    known = sscanf(line, "MemAvailable: %llu kB", &availableKib) == 1;
  }
  fclose(file);
  return !known || bytes / 1024 < availableKib;
}

// Whether the kernel lets processes of this user open the memory of this one. Yama allows it to descendants alone, or
// to nobody, unless the program says otherwise, which is not for a library to do.
bool PeersMayOpenMemory() {
  if (prctl(PR_GET_DUMPABLE) != 1) return false;
  FILE* file = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
  if (file == nullptr) return true;
  int scope = 0;
  bool known = fscanf(file, "%d", &scope) == 1;
  fclose(file);
  return !known || scope == 0;
}

int CheckAccess(uint32_t access, bool adopted) {
  if ((access & ~kKnownAccess) != 0) return -EINVAL;
  if ((access & (kRemoteWrite | kRemoteAtomic)) != 0 && (access & kLocalWrite) == 0) return -EINVAL;
  if ((access & kRemoteMap) != 0 && (access & kRemoteWrite) == 0) return -EINVAL;
  if (!adopted) return 0;
  // CPU atomics need the page itself, and a system call has none.
  if ((access & (kRemoteAtomic | kRemoteMap)) != 0) return -ENOTSUP;
  // What only this process writes (a READ's target) needs nobody's permission.
  bool isLocal = (access & ~uint32_t{kLocalWrite | kRelaxedOrdering}) == 0;
  return isLocal || PeersMayOpenMemory() ? 0 : -EPERM;
}

}  // namespace

int MemoryRegion::Create(ProtectionDomain& pd, const MemoryInit& init, std::unique_ptr<onepiece::MemoryRegion>* out) {
  uint32_t access = init.access;
  if (init.mapping == nullptr && (init.bytes == 0 || init.bytes > size_t{1} << 46)) return -EINVAL;
  int rc = CheckAccess(access, init.address != nullptr);
  if (rc != 0) return rc;
  std::unique_ptr<MemoryRegion> region(new (std::nothrow) MemoryRegion(pd));
  if (!region) return -ENOMEM;
  MrSlot slot{};
  if (init.mapping != nullptr) {
    rc = region->HandOn(init, &slot);
  } else {
    rc = init.address != nullptr ? region->Adopt(init, &slot) : region->Allocate(init.bytes, init.pageBytes, &slot);
  }
  if (rc != 0) return rc;
  Context& context = pd.context();
  rc = context.keys.Take(&region->key_);
  if (rc != 0) return rc;
  region->registered_ = true;
  region->mappable_ = (access & kRemoteMap) != 0 && !region->pages_;
  slot.pd = pd.number();
  slot.access = access;
  slot.address = reinterpret_cast<uint64_t>(region->base_);
  slot.length = region->length_;
  slot.serial = context.nextSerial++;
  context.PublishMr(region->key_, slot);
  *out = std::move(region);
  return 0;
}

int MemoryRegion::Allocate(size_t bytes, size_t pageBytes, MrSlot* slot) {
  uint32_t flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  if (pageBytes != 0) {
    // Huge pages are set aside beforehand, and only those count.
    if (!std::has_single_bit(pageBytes) || pageBytes <= kPageBytes) return -EINVAL;
    flags |= MFD_HUGETLB | static_cast<uint32_t>(std::countr_zero(pageBytes)) << MAP_HUGE_SHIFT;
  } else if (!FitsInMemory(bytes)) {
    return -ENOMEM;
  }
  size_t page = pageBytes != 0 ? pageBytes : kPageBytes;
  size_t mapped = (bytes + page - 1) / page * page;
  fd_ = memfd_create("onepiece-region", flags);
  if (fd_ < 0) return errno == ENODEV ? -ENOTSUP : -errno;  // this machine has none of that size
  if (ftruncate(fd_, static_cast<off_t>(mapped)) != 0) return -errno;
  // Pages exist from now on, so that no later store can fail for want of memory.
  int rc;
  do {
    rc = fallocate(fd_, 0, 0, static_cast<off_t>(mapped)) == 0 ? 0 : -errno;
  } while (rc == -EINTR);
  if (rc != 0) return rc == -ENOSPC ? -ENOMEM : rc;
  if (fcntl(fd_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return -errno;
  void* base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_, 0);
  if (base == MAP_FAILED) return -errno;
  base_ = static_cast<uint8_t*>(base);
  mapped_ = mapped;
  length_ = bytes;
  slot->fd = static_cast<uint32_t>(fd_);
  return InodeOf(fd_, &slot->inode);
}

int MemoryRegion::Adopt(const MemoryInit& init, MrSlot* slot) {
  adopted_ = true;
  base_ = static_cast<uint8_t*>(init.address);
  length_ = init.bytes;
  slot->fd = kProcessMemory;
  return 0;
}

// Peers open the descriptor that this process holds of the same memfd.
int MemoryRegion::HandOn(const MemoryInit& init, MrSlot* slot) {
  // No other device makes mappings.
  const auto& mapping = static_cast<const RemoteMapping&>(*init.mapping);
  pages_ = mapping.pages();
  if (!pages_ || pages_->fd() < 0) return -EBADF;
  base_ = static_cast<uint8_t*>(mapping.Address());
  length_ = mapping.Length();
  slot->fd = static_cast<uint32_t>(pages_->fd());
  slot->offset = pages_->OffsetOf(base_);
  return InodeOf(pages_->fd(), &slot->inode);
}

int MemoryRegion::Pages(int* fd, uint64_t* offset) const {
  if (pages_) {
    *fd = pages_->fd();
    *offset = pages_->OffsetOf(base_);
    return *fd < 0 ? -ENOTSUP : 0;
  }
  *fd = fd_;
  *offset = 0;
  return fd_ < 0 ? -ENOTSUP : 0;
}

int MemoryRegion::Revoke() {
  Context& context = pd_->context();
  std::vector<uint32_t> keys{key_};
  if (!context.windows.ClearRegion(context, key_, &keys)) return -EINVAL;  // one is bound to it; as rxe answers
  if (!context.AllQuiet(keys, kRevokeWaitMs)) return -EBUSY;
  for (uint32_t key : keys) context.windows.Drained(key);
  return 0;
}

int MemoryRegion::Reregister(const uint32_t* access, onepiece::ProtectionDomain* domain) {
  Context& context = pd_->context();
  ProtectionDomain* to = domain == nullptr ? pd_ : ProtectionDomain::Of(context, domain);
  if (!registered_ || to == nullptr) return -EINVAL;
  MrSlot& own = context.localMr(MrIndex(key_));
  uint32_t rights = access == nullptr ? own.access : *access;
  // A peer that has mapped pages keeps them, whatever the slot says; only Deregister() takes them away.
  if (mappable_ || pages_ || (rights & kRemoteMap) != 0) return -ENOTSUP;
  int rc = CheckAccess(rights, adopted_);
  if (rc != 0) return rc;
  // A right that is taken away is taken as finally as all of them; so nobody sees a slot that is half changed, either.
  rc = Revoke();
  if (rc != 0) return rc;
  MrSlot slot{};
  slot.pd = to->number();
  slot.access = rights;
  slot.fd = own.fd;
  slot.address = own.address;
  slot.length = own.length;
  slot.serial = own.serial;
  slot.inode = own.inode;
  context.PublishMr(key_, slot);
  pd_->children--;
  to->children++;
  pd_ = to;
  return 0;
}

int MemoryRegion::Unregister() {
  if (!registered_) return 0;
  int rc = Revoke();
  if (rc != 0) return rc;
  pd_->context().keys.Give(key_);
  registered_ = false;
  return 0;
}

int MemoryRegion::Deregister() {
  int rc = Unregister();
  return rc == 0 && mappable_ ? Detach() : rc;
}

// From now on the owner has pages of its own, with what the shared ones held, at the same address.
int MemoryRegion::Detach() {
  void* copy = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (copy == MAP_FAILED) return -errno;
  memcpy(copy, base_, mapped_);
  if (mremap(copy, mapped_, mapped_, MREMAP_MAYMOVE | MREMAP_FIXED, base_) == MAP_FAILED) {
    int rc = -errno;
    munmap(copy, mapped_);
    return rc;
  }
  mappable_ = false;
  return 0;
}

int MemoryRegion::Close() {
  if (closed_) return 0;
  if (registered_) {
    Context& context = pd_->context();
    context.windows.Abandon(context, key_);
    int rc = Unregister();
    if (rc != 0 && adopted_) return rc;
  }
  closed_ = true;
  pages_.reset();
  if (mapped_ != 0) munmap(base_, mapped_);
  if (fd_ >= 0) close(fd_);
  pd_->children--;
  return 0;
}

MemoryRegion::~MemoryRegion() {
  while (Close() != 0) {
  }
}

}  // namespace onepiece::soft
