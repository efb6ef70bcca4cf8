// Invariant: see protection_domain.h.
#include "protection_domain.h"

#include <errno.h>

#include "memory_region.h"
#include "queue_pair.h"

namespace onepiece::soft {

int ProtectionDomain::RegisterMemory(const MemoryInit& init, std::unique_ptr<onepiece::MemoryRegion>* out) {
  if (closed_) return -EBADF;
  if (init.address != nullptr || init.dmabufFd >= 0 || init.pageBytes != 0) return -ENOTSUP;
  return MemoryRegion::Create(*this, init.bytes, init.access, out);
}

int ProtectionDomain::CreateQp(const QpInit& init, std::unique_ptr<onepiece::QueuePair>* out) {
  if (closed_) return -EBADF;
  return QueuePair::Create(*this, init, out);
}

int ProtectionDomain::Close() {
  if (closed_) return 0;
  if (children > 0) return -EBUSY;
  closed_ = true;
  context_.children--;
  return 0;
}

}  // namespace onepiece::soft
