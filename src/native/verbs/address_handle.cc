// Address handles. Invariant: see address_handle.h.
#include "address_handle.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <cstring>
#include <new>

namespace onepiece::verbs {

bool ToAhAttr(const AddressVector& from, uint8_t port, ibv_ah_attr* out) {
  const auto fits = [](uint32_t value) { return value <= UINT8_MAX; };
  memset(out, 0, sizeof(*out));
  if (from.destLid > UINT16_MAX || !fits(from.serviceLevel) || !fits(from.sourcePathBits)) return false;
  out->dlid = static_cast<uint16_t>(from.destLid);
  out->sl = static_cast<uint8_t>(from.serviceLevel);
  out->src_path_bits = static_cast<uint8_t>(from.sourcePathBits);
  out->port_num = port;
  out->is_global = from.isGlobal ? 1 : 0;
  if (!from.isGlobal) return true;
  if (!fits(from.gidIndex) || !fits(from.hopLimit) || !fits(from.trafficClass) || from.flowLabel > 0xfffff) return false;
  memcpy(out->grh.dgid.raw, from.destGid.raw, sizeof(from.destGid.raw));
  out->grh.sgid_index = static_cast<uint8_t>(from.gidIndex);
  out->grh.hop_limit = static_cast<uint8_t>(from.hopLimit);
  out->grh.traffic_class = static_cast<uint8_t>(from.trafficClass);
  out->grh.flow_label = from.flowLabel;
  return true;
}

int AddressHandle::Create(const std::shared_ptr<Domain>& domain, const AddressVector& path,
                          std::unique_ptr<onepiece::AddressHandle>* out) {
  if (path.port == 0 || path.port > UINT8_MAX) return -EINVAL;
  ibv_ah_attr attr;
  if (!ToAhAttr(path, static_cast<uint8_t>(path.port), &attr)) return -EINVAL;
  errno = 0;
  ibv_ah* raw = domain->context->library.create_ah(domain->raw, &attr);
  if (raw == nullptr) return LastError();
  const uint32_t number = domain->handles.Add(raw);
  auto* handle = number == 0 ? nullptr : new (std::nothrow) AddressHandle(domain, raw, number);
  if (handle == nullptr) {
    domain->handles.Remove(number);
    domain->context->library.destroy_ah(raw);
    return -ENOMEM;
  }
  out->reset(handle);
  return 0;
}

int AddressHandle::Raw(RawNumbers* out) {
  if (!domain_) return -EBADF;
  *out = {reinterpret_cast<uintptr_t>(raw_), raw_->handle, -1, -1};
  return 0;
}

int AddressHandle::Close() {
  if (!domain_) return 0;
  const int error = Ask(domain_->context->library.destroy_ah, raw_);
  if (error != 0) return error;
  domain_->handles.Remove(number_);
  domain_.reset();
  return 0;
}

}  // namespace onepiece::verbs

#endif
