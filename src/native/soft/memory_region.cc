// Invariant: see memory_region.h.
#include "memory_region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

namespace onepiece::soft {

namespace {

constexpr uint32_t kKnownAccess = kLocalWrite | kRemoteWrite | kRemoteRead | kRemoteAtomic;
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

}  // namespace

int MemoryRegion::Create(ProtectionDomain& pd, size_t bytes, uint32_t access,
                         std::unique_ptr<onepiece::MemoryRegion>* out) {
  if (bytes == 0 || bytes > size_t{1} << 46 || (access & ~kKnownAccess) != 0) return -EINVAL;
  if ((access & (kRemoteWrite | kRemoteAtomic)) != 0 && (access & kLocalWrite) == 0) return -EINVAL;
  std::unique_ptr<MemoryRegion> region(new (std::nothrow) MemoryRegion(pd));
  if (!region || !FitsInMemory(bytes)) return -ENOMEM;
  size_t mapped = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  region->fd_ = memfd_create("onepiece-region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (region->fd_ < 0) return -errno;
  if (ftruncate(region->fd_, static_cast<off_t>(mapped)) != 0) return -errno;
  // Pages exist from now on, so that no later store can fail for want of memory.
  int rc;
  do {
    rc = fallocate(region->fd_, 0, 0, static_cast<off_t>(mapped)) == 0 ? 0 : -errno;
  } while (rc == -EINTR);
  if (rc != 0) return rc == -ENOSPC ? -ENOMEM : rc;
  if (fcntl(region->fd_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return -errno;
  void* base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, region->fd_, 0);
  if (base == MAP_FAILED) return -errno;
  region->base_ = static_cast<uint8_t*>(base);
  region->mapped_ = mapped;
  region->length_ = bytes;

  Context& context = pd.context();
  uint64_t inode = 0;
  rc = InodeOf(region->fd_, &inode);
  if (rc != 0) return rc;
  if (!context.mrSlots.Take(&region->index_)) return -ENOMEM;
  uint32_t index = region->index_;
  // The upper half of a key is different for each use of a slot; a wrong or stale one is found by comparing all of it.
  context.nextKeySalt = context.nextKeySalt * 1664525u + 1013904223u;
  uint32_t salt = context.nextKeySalt >> 16;
  region->key_ = salt << 16 | index;
  MrSlot& slot = context.directory().mr(index);
  slot.pd = pd.number();
  slot.access = access;
  slot.fd = static_cast<uint32_t>(region->fd_);
  slot.address = reinterpret_cast<uint64_t>(region->base_);
  slot.length = bytes;
  slot.serial = context.nextSerial++;
  slot.inode = inode;
  slot.key.store(region->key_);
  *out = std::move(region);
  return 0;
}

int MemoryRegion::Deregister() {
  if (index_ == 0) return 0;
  Context& context = pd_.context();
  context.directory().mr(index_).key.store(0);
  if (!context.AllQuiet(kRevokeWaitMs)) return -EBUSY;
  context.mrSlots.Give(index_);
  index_ = 0;
  return 0;
}

int MemoryRegion::Close() {
  if (closed_) return 0;
  closed_ = true;
  // Without proof the slot is never given back: whoever is inside writes to pages of which nobody has a view.
  Deregister();
  if (base_ != nullptr) munmap(base_, mapped_);
  if (fd_ >= 0) close(fd_);
  pd_.children--;
  return 0;
}

}  // namespace onepiece::soft
