// Invariant: see address_handle.h.
#include "address_handle.h"

#include <errno.h>

namespace onepiece::soft {

int AddressHandle::Create(ProtectionDomain& pd, const AddressVector& path,
                          std::unique_ptr<onepiece::AddressHandle>* out) {
  Context& context = pd.context();
  if (path.port != 1 || path.gidIndex != 0) return -EINVAL;
  if (context.handles.size() >= kMaxAhs) return -ENOMEM;
  std::unique_ptr<AddressHandle> handle(new (std::nothrow) AddressHandle(pd));
  if (!handle) return -ENOMEM;
  int rc = context.AttachPeer(path.destGid, &handle->peer_);
  if (rc != 0) return rc;
  do {
    handle->number_ = context.nextAh++;
  } while (handle->number_ == 0 || context.handles.contains(handle->number_));
  context.handles[handle->number_] = handle.get();
  *out = std::move(handle);
  return 0;
}

int AddressHandle::Close() {
  if (closed_) return 0;
  closed_ = true;
  pd_.context().handles.erase(number_);
  pd_.children--;
  peer_.reset();
  return 0;
}

}  // namespace onepiece::soft
