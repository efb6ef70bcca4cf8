// Invariant: see protection_domain.h.
#include "protection_domain.h"

#include <errno.h>

#include "address_handle.h"
#include "memory_region.h"
#include "memory_window.h"
#include "queue_pair.h"
#include "shared_receive_queue.h"

namespace onepiece::soft {

int ProtectionDomain::RegisterMemory(const MemoryInit& init, std::unique_ptr<onepiece::MemoryRegion>* out) {
  if (closed_) return -EBADF;
  if (init.dmabufFd >= 0) return -ENOTSUP;
  return MemoryRegion::Create(*this, init, out);
}

int ProtectionDomain::AllocateWindow(std::unique_ptr<onepiece::MemoryWindow>* out) {
  return closed_ ? -EBADF : MemoryWindow::Allocate(*this, out);
}

int ProtectionDomain::CreateAh(const AddressVector& path, std::unique_ptr<onepiece::AddressHandle>* out) {
  return closed_ ? -EBADF : AddressHandle::Create(*this, path, out);
}

int ProtectionDomain::CreateSrq(const SrqAttributes& wanted, std::unique_ptr<onepiece::SharedReceiveQueue>* out) {
  return closed_ ? -EBADF : SharedReceiveQueue::Create(*this, wanted, out);
}

int ProtectionDomain::CreateQp(const QpInit& init, std::unique_ptr<onepiece::QueuePair>* out) {
  if (closed_) return -EBADF;
  return QueuePair::Create(*this, init, out);
}

uint8_t* ProtectionDomain::LocalMemory(const SgeRecord& sge, bool write) const {
  const MrSlot& mr = context_.localMr(MrIndex(sge.lkey));
  auto address = static_cast<uint64_t>(sge.address);
  if (sge.lkey == 0 || mr.key.load() != sge.lkey || mr.pd != number_ || mr.boundQp != 0) return nullptr;
  if (write && (mr.access & kLocalWrite) == 0) return nullptr;
  if (address < mr.address || sge.length > mr.length || address - mr.address > mr.length - sge.length) return nullptr;
  return reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(address));
}

ProtectionDomain* ProtectionDomain::Of(const Context& context, const onepiece::ProtectionDomain* domain) {
  for (ProtectionDomain* own : context.domains) {
    if (own == domain) return own;
  }
  return nullptr;
}

ProtectionDomain::~ProtectionDomain() {
  Close();
  std::erase(context_.domains, this);
}

int ProtectionDomain::Close() {
  if (closed_) return 0;
  if (children > 0) return -EBUSY;
  closed_ = true;
  std::erase(context_.domains, this);
  context_.children--;
  return 0;
}

}  // namespace onepiece::soft
