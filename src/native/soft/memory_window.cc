// Invariant: see window_table.h.
#include "memory_window.h"

#include <errno.h>

namespace onepiece::soft {

namespace {
constexpr uint32_t kCloseWaitMs = 50;
}

int MemoryWindow::Allocate(ProtectionDomain& pd, std::unique_ptr<onepiece::MemoryWindow>* out) {
  std::unique_ptr<MemoryWindow> window(new (std::nothrow) MemoryWindow(pd));
  if (!window) return -ENOMEM;
  Context& context = pd.context();
  int rc = context.keys.Take(&window->key_);
  if (rc != 0) return rc;
  context.windows.Add(window->Number(), window->key_, pd.number());
  *out = std::move(window);
  return 0;
}

int MemoryWindow::Close() {
  if (closed_) return 0;
  if (key_ != 0) {
    Context& context = pd_.context();
    uint32_t present = context.windows.Retire(context, Number());
    if (!context.AllQuiet({present}, kCloseWaitMs)) return -EBUSY;
    context.windows.Remove(Number());
    context.keys.Give(key_);
  }
  closed_ = true;
  pd_.children--;
  return 0;
}

// Without proof the slot is never given back, and its region finds it draining.
MemoryWindow::~MemoryWindow() {
  if (Close() != 0) pd_.children--;
}

}  // namespace onepiece::soft
