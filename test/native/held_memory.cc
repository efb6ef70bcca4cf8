// Invariant: see held_memory.h.
#include "held_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "side.h"

namespace onepiece::test {

namespace {
constexpr size_t kPage = 4096;
}

HeldMemory::HeldMemory(size_t bytes, size_t heldOffset) : size_(bytes), heldOffset_(heldOffset) {
  void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  Must(base != MAP_FAILED, "map memory", -errno);
  bytes_ = static_cast<uint8_t*>(base);
  madvise(base, bytes, MADV_NOHUGEPAGE);
  fd_ = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
  // Without privileges the faults of user code alone can be held, which is enough but for copies by system calls.
  if (fd_ < 0) fd_ = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY));
  if (fd_ < 0) return;
  uffdio_api api{};
  api.api = UFFD_API;
  Must(ioctl(fd_, UFFDIO_API, &api) == 0, "userfaultfd", -errno);
  uffdio_register range{};
  range.range = {reinterpret_cast<uint64_t>(bytes_) + heldOffset, kPage};
  range.mode = UFFDIO_REGISTER_MODE_MISSING;
  Must(ioctl(fd_, UFFDIO_REGISTER, &range) == 0, "hold a page", -errno);
  memset(bytes_, 0, heldOffset);
  memset(bytes_ + heldOffset + kPage, 0, bytes - heldOffset - kPage);
}

HeldMemory::~HeldMemory() {
  if (fd_ >= 0) close(fd_);
  munmap(bytes_, size_);
}

void HeldMemory::AwaitVisitor() const {
  pollfd entry{fd_, POLLIN, 0};
  Must(poll(&entry, 1, static_cast<int>(kPatienceMs)) == 1 && entry.revents == POLLIN, "nobody touches the page that is held");
}

void HeldMemory::Release() const {
  uffdio_zeropage zero{};
  zero.range = {reinterpret_cast<uint64_t>(bytes_) + heldOffset_, kPage};
  Must(ioctl(fd_, UFFDIO_ZEROPAGE, &zero) == 0, "release the page", -errno);
}

}  // namespace onepiece::test
