// Memory windows. Invariant: see memory_window.h.
#include "memory_window.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <new>

namespace onepiece::verbs {

int MemoryWindow::Allocate(const std::shared_ptr<Domain>& domain, std::unique_ptr<onepiece::MemoryWindow>* out) {
  errno = 0;
  ibv_mw* raw = ibv_alloc_mw(domain->raw, IBV_MW_TYPE_2);
  if (raw == nullptr) return LastError();
  const uint32_t number = domain->windows.Add(raw);
  auto* window = number == 0 ? nullptr : new (std::nothrow) MemoryWindow(domain, raw, number);
  if (window == nullptr) {
    domain->windows.Remove(number);
    ibv_dealloc_mw(raw);
    return -ENOMEM;
  }
  out->reset(window);
  return 0;
}

int MemoryWindow::Raw(RawNumbers* out) {
  if (!domain_) return -EBADF;
  *out = {reinterpret_cast<uintptr_t>(raw_), raw_->handle, -1, -1};
  return 0;
}

int MemoryWindow::Close() {
  if (!domain_) return 0;
  const int error = Ask(ibv_dealloc_mw, raw_);
  if (error != 0) return error;
  domain_->windows.Remove(number_);
  domain_.reset();
  return 0;
}

}  // namespace onepiece::verbs

#endif
