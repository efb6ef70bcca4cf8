// Memory with one page that is missing until the test releases it (userfaultfd(2)): a thread that touches that page
// blocks in the middle of its work, at a byte that the test has chosen. Invariant: it waits without time-out, and for
// nothing else.
#pragma once

#include <cstddef>
#include <cstdint>

namespace onepiece::test {

class HeldMemory {
 public:
  // `bytes` of anonymous memory, all present but for the page at `heldOffset`; both whole pages.
  HeldMemory(size_t bytes, size_t heldOffset);
  ~HeldMemory();
  HeldMemory(const HeldMemory&) = delete;
  HeldMemory& operator=(const HeldMemory&) = delete;

  // False where the kernel does not give userfaultfd to this user.
  bool isHeld() const { return fd_ >= 0; }
  uint8_t* bytes() const { return bytes_; }
  size_t size() const { return size_; }
  // Waits until somebody has touched the page and is blocked there.
  void AwaitVisitor() const;
  // Puts zeros there; whoever waits goes on.
  void Release() const;

 private:
  uint8_t* bytes_;
  size_t size_;
  size_t heldOffset_;
  int fd_;
};

}  // namespace onepiece::test
